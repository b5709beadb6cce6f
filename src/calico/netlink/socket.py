"""One netlink socket: the only I/O of this package.

Synchronous on purpose: the kernel handles a request within ``sendmsg``, so its answers are queued when ``send``
returns and reading them never waits. Event sockets are watched by ``fileno()`` and emptied with ``drain()``.
The socket belongs to the network namespace of the thread that made it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final, Self

import msgspec

from calico.errors import ResyncRequired, Transient, Uncertain
from calico.netlink import wire
from calico.netlink.wire import Message

__all__ = ["NETLINK_NETFILTER", "NETLINK_ROUTE", "Failure", "NetlinkError", "NetlinkSocket"]

NETLINK_ROUTE: Final = 0
NETLINK_NETFILTER: Final = 12

_HOST_ORDER: Final = sys.byteorder

_SOL_NETLINK: Final = 270
_NETLINK_ADD_MEMBERSHIP: Final = 1
_NETLINK_NO_ENOBUFS: Final = 5
_NETLINK_CAP_ACK: Final = 10
_NETLINK_EXT_ACK: Final = 11
_NETLINK_GET_STRICT_CHK: Final = 12
_SO_SNDBUFFORCE: Final = 32
_SO_RCVBUFFORCE: Final = 33

_DATAGRAM_MAX: Final = 1 << 18
"""Largest datagram read; the kernel's own are at most 32 KiB unless it echoes a request, which CAP_ACK prevents."""

_MESSAGES_PER_SEND: Final = 1000


class Failure(msgspec.Struct, frozen=True, gc=False):
    """A request that the kernel refused: its sequence number, the errno and the kernel's own words, if any."""

    seq: int
    errno: int
    text: str = ""

    def __str__(self) -> str:
        name = errno.errorcode.get(self.errno, str(self.errno))
        return f"{name} ({self.text or os.strerror(self.errno)})"


class NetlinkError(Transient):
    """The kernel refused one request as a whole; ``errno`` says why."""

    def __init__(self, failure: Failure) -> None:
        self.errno = failure.errno
        self.failure = failure
        super().__init__(str(failure))


class NetlinkSocket:
    """A socket of one netlink protocol. Not for two threads at once; answers are matched by sequence number."""

    def __init__(
        self,
        protocol: int,
        *,
        groups: Sequence[int] = (),
        rcvbuf: int = 8 << 20,
        sndbuf: int = 32 << 20,
        strict: bool = False,
        numbered: bool = False,
    ) -> None:
        """``groups``: multicast groups by number. ``strict``: the kernel checks and filters dumps by their header.
        ``numbered``: its messages tell by themselves what was dropped, so an overflow is no error."""
        self._sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._seq = 0
        self._dumping = False
        self._buffer = bytearray(_DATAGRAM_MAX)
        self._view = memoryview(self._buffer)
        try:
            self._size_buffer(_SO_RCVBUFFORCE, socket.SO_RCVBUF, rcvbuf)
            self._size_buffer(_SO_SNDBUFFORCE, socket.SO_SNDBUF, sndbuf)
            self._sock.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
            self._sock.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
            if strict:
                self._sock.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
            if numbered:
                self._sock.setsockopt(_SOL_NETLINK, _NETLINK_NO_ENOBUFS, 1)
            self._sock.bind((0, 0))
            for group in groups:
                self._sock.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
        except OSError:
            self._sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def port(self) -> int:
        """Our address: what the kernel calls the netlink pid."""
        return int(self._sock.getsockname()[0])

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        """Close; waits 10-20 ms inside the kernel when nf_tables objects were deleted through this socket."""
        self._sock.close()

    def next_seq(self, n: int = 1) -> int:
        """The first of ``n`` consecutive sequence numbers reserved for the caller; never 0."""
        if self._seq + n > 0xFFFFFFFF:
            self._seq = 0
        first = self._seq + 1
        self._seq += n
        return first

    def send(self, data: bytes) -> None:
        """Hand whole messages to the kernel, with a larger send buffer if need be. Transient if that is not granted."""
        try:
            try:
                sent = self._sock.send(data)
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    raise
                self._size_buffer(_SO_SNDBUFFORCE, socket.SO_SNDBUF, len(data) + 4096)
                sent = self._sock.send(data)
        except OSError as error:
            raise Transient(f"netlink send of {len(data)} bytes: {error.strerror}") from error
        if sent != len(data):
            raise Uncertain(f"netlink send took {sent} of {len(data)} bytes")

    def recv(self, *, wait: bool = True) -> bytes:
        """One datagram; ``b""`` when ``wait`` is False and nothing is queued.

        ResyncRequired when the kernel had to drop something meant for us; the stale rest is discarded first.
        """
        flags = socket.MSG_TRUNC | (0 if wait else socket.MSG_DONTWAIT)
        try:
            size = self._sock.recv_into(self._buffer, 0, flags)
        except BlockingIOError:
            return b""
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                self._discard()
                raise ResyncRequired("netlink receive buffer overflowed") from error
            raise Transient(f"netlink receive: {error.strerror}") from error
        if size > _DATAGRAM_MAX:
            raise ResyncRequired(f"netlink datagram of {size} bytes was truncated")
        return bytes(self._view[:size])

    def drain(self) -> Iterator[Message]:
        """Every message queued now, without waiting (for event sockets). ResyncRequired as ``recv``."""
        while datagram := self.recv(wait=False):
            yield from wire.iter_messages(datagram)

    def transact(self, messages: Sequence[bytes]) -> list[Failure]:
        """Send requests, up to 1000 at once, and return those that the kernel refused.

        Requests are independent of one another: the others went through. Only the last of each send asks for an
        acknowledgement (set here), refusals are reported without. Uncertain if that acknowledgement is missing.
        """
        failures: list[Failure] = []
        for start in range(0, len(messages), _MESSAGES_PER_SEND):
            failures += self._transact_once(messages[start : start + _MESSAGES_PER_SEND])
        return failures

    def request(self, request: bytes) -> list[Message]:
        """Send one request and return its answers other than the acknowledgement; NetlinkError if refused."""
        seq = _seq_of(request)
        self.send(_with_ack(request))
        answers: list[Message] = []
        for answer in self.drain():
            if answer.seq != seq:
                continue
            if answer.type != wire.NLMSG_ERROR:
                answers.append(answer)
            elif code := wire.error_code(answer.payload):
                raise NetlinkError(Failure(seq, code, wire.error_text(answer)))
        return answers

    def dump(self, request: bytes) -> Iterator[Message]:
        """Send a request that has NLM_F_DUMP and yield its answers.

        ResyncRequired at the end if the dumped thing changed meanwhile (NLM_F_DUMP_INTR): what was yielded may miss
        entries, dump again. NetlinkError if refused. An abandoned iterator reads the rest when it is closed.
        """
        if self._dumping:
            raise RuntimeError("a netlink socket has one dump at a time")
        seq = _seq_of(request)
        self.send(request)
        self._dumping = True
        interrupted = finished = False
        try:
            while not finished:
                for answer in wire.iter_messages(self.recv()):
                    if answer.seq != seq:
                        continue
                    interrupted = interrupted or bool(answer.flags & wire.NLM_F_DUMP_INTR)
                    if answer.type in (wire.NLMSG_DONE, wire.NLMSG_ERROR):
                        finished = True
                        _raise_if_refused(answer)
                        break
                    yield answer
        finally:
            self._dumping = False
            if not finished:
                self._discard()
        if interrupted:
            raise ResyncRequired("what was dumped changed during the dump")

    def exchange(self, data: bytes, first_seq: int, last_seq: int) -> tuple[bool, list[Failure]]:
        """Send messages numbered ``first_seq`` to ``last_seq``; was the last acknowledged, and which were refused."""
        self.send(data)
        failures: list[Failure] = []
        acknowledged = False
        for answer in self.drain():
            if answer.type != wire.NLMSG_ERROR or not first_seq <= answer.seq <= last_seq:
                continue
            acknowledged = acknowledged or answer.seq == last_seq
            if code := wire.error_code(answer.payload):
                failures.append(Failure(answer.seq, code, wire.error_text(answer)))
        return acknowledged, failures

    def _transact_once(self, messages: Sequence[bytes]) -> list[Failure]:
        last = _with_ack(messages[-1])
        data = b"".join((*messages[:-1], last))
        acknowledged, failures = self.exchange(data, _seq_of(messages[0]), _seq_of(last))
        if not acknowledged:
            raise Uncertain("netlink requests were not acknowledged")
        return failures

    def _discard(self) -> None:
        while True:
            try:
                if not self._sock.recv_into(self._buffer, 0, socket.MSG_DONTWAIT):
                    return
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise Transient(f"netlink receive: {error.strerror}") from error

    def _size_buffer(self, force: int, plain: int, size: int) -> None:
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, force, size)
        except OSError:  # needs CAP_NET_ADMIN; the plain option is cut to net.core.*mem_max
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, plain, size)


def _seq_of(request: bytes) -> int:
    return int.from_bytes(request[8:12], _HOST_ORDER)


def _with_ack(request: bytes) -> bytes:
    flags = int.from_bytes(request[6:8], _HOST_ORDER) | wire.NLM_F_ACK
    return request[:6] + flags.to_bytes(2, _HOST_ORDER) + request[8:]


def _raise_if_refused(answer: Message) -> None:
    code = wire.error_code(answer.payload) if answer.payload else 0
    if code:
        raise NetlinkError(Failure(answer.seq, code, wire.error_text(answer)))
