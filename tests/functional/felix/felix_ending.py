"""Felix as it is, but it kills itself at a given moment, or its transactions take long.

``--end-at STEP:N``: SIGKILL at the Nth time that a step is reached (``calico.felix.steps``), or that a transaction is
about to be sent (``sending``) or was just sent, its answer not read (``sent``). ``--slow S``: wait that long before
every transaction is sent and again before its answer is read. ``--no-owner``: the kernel is one before 6.9, which
lets nobody own a table that stays. ``--room N``: the kernel gives no set room for more than N elements. ``--count
FILE``: each SIGUSR1 writes into it how many netlink messages were sent. ``--handle-signals``: SIGUSR2 is taken note
of, which interrupts whatever waits. ``--receive-buffer N``: the kernel keeps N bytes of events for us.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from calico.dataplane.interfaces import InterfaceMonitor
from calico.datastore.connection import Connection
from calico.felix.daemon import FelixSettings, run
from calico.netlink import wire
from calico.netlink.nftables import uapi
from calico.netlink.socket import NETLINK_NETFILTER, Failure, NetlinkSocket
from calico.obs.log import configure_logging

NEW_SET = uapi.SUBSYS_NFTABLES << 8 | uapi.NEWSET
NEW_TABLE = uapi.SUBSYS_NFTABLES << 8 | uapi.NEWTABLE


class Ending:
    """Counts moments and ends the process at one of them."""

    def __init__(self, wanted: str) -> None:
        self._step, _, number = wanted.partition(":")
        self._number = int(number or 1)
        self._seen: Counter[str] = Counter()

    def __call__(self, step: str) -> None:
        self._seen[step] += 1
        if (step, self._seen[step]) == (self._step, self._number):
            os.kill(os.getpid(), signal.SIGKILL)


class WatchedSocket(NetlinkSocket):
    """A socket to nf_tables that is slow and tells its steps."""

    def __init__(self, ending: Ending, slow_s: float, *, owner: bool, room: int = 0) -> None:
        super().__init__(NETLINK_NETFILTER)
        self._ending, self._slow_s, self._knows_owners = ending, slow_s, owner
        self._is_transaction = False
        self._room = room

    def exchange(self, data: bytes, first_seq: int, last_seq: int) -> tuple[bool, list[Failure]]:
        time.sleep(self._slow_s)
        self._ending("sending")
        if not self._knows_owners:
            refused = [m for m in wire.iter_messages(data) if m.type == NEW_TABLE and _flags(m.payload) & 6]
            if refused:
                return False, [Failure(message.seq, errno.EOPNOTSUPP) for message in refused]
        self._is_transaction = True
        if self._room:
            data = _with_room(data, self._room)
        return super().exchange(data, first_seq, last_seq)

    def send(self, data: bytes) -> None:
        super().send(data)
        if self._is_transaction:
            self._is_transaction = False
            self._ending("sent")
            time.sleep(self._slow_s)


def _flags(payload: bytes) -> int:
    return wire.be32(wire.parse_attrs(payload[4:]).get(uapi.TABLE_FLAGS, b"\0\0\0\0"))


def _with_room(data: bytes, room: int) -> bytes:
    """The same transaction, but that no set is declared larger: of a set only its declared size is this attribute."""
    for size in {wire.be32(size) for size in _sizes(data)}:
        if size > room:
            data = data.replace(_size_of_set(size), _size_of_set(room))
    return data


def _sizes(data: bytes) -> Iterator[bytes]:
    """The declared sizes of the sets that a transaction makes."""
    for message in wire.iter_messages(data):
        if message.type == NEW_SET:
            desc = wire.parse_attrs(wire.parse_attrs(message.payload[4:]).get(uapi.SET_DESC, b""))
            yield from (desc[kind] for kind in desc if kind == uapi.SET_DESC_SIZE)


def _size_of_set(size: int) -> bytes:
    return wire.nested(uapi.SET_DESC, wire.attr_be32(uapi.SET_DESC_SIZE, size))


def count_messages(file: str) -> None:
    """Count what goes to the kernel, message by message, through whatever netlink socket."""
    sent = 0
    send = NetlinkSocket.send

    def counting(self: NetlinkSocket, data: bytes) -> None:
        nonlocal sent
        sent += sum(1 for _ in wire.iter_messages(data))
        send(self, data)

    def tell(*_: object) -> None:
        Path(f"{file}.new").write_text(str(sent))
        Path(f"{file}.new").rename(file)

    NetlinkSocket.send = counting  # type: ignore[method-assign]
    signal.signal(signal.SIGUSR1, tell)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--end-at", default="never")
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--room", type=int, default=0)
    parser.add_argument("--no-owner", action="store_true")
    parser.add_argument("--handle-signals", action="store_true")
    parser.add_argument("--receive-buffer", type=int, default=0)
    parser.add_argument("--count", default="")
    for name in ("--node", "--run-dir", "--log-file"):
        parser.add_argument(name, required=True)
    options = parser.parse_args()
    configure_logging(level="info", file=options.log_file)
    if options.count:
        count_messages(options.count)
    if options.receive_buffer:
        InterfaceMonitor.__init__.__kwdefaults__["rcvbuf"] = options.receive_buffer
    if options.handle_signals:
        signal.signal(signal.SIGUSR2, lambda *_: None)
    ending = Ending(options.end_at)
    settings = FelixSettings(options.node, Connection(), options.run_dir)

    def nft_socket() -> WatchedSocket:
        return WatchedSocket(ending, options.slow, owner=not options.no_owner, room=options.room)

    asyncio.run(run(settings, on_step=ending, nft_socket=nft_socket))


if __name__ == "__main__":
    main()
