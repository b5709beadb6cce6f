"""The one reader of flow logs: packets that rules logged to our nflog group, and ends of tracked flows, as they come.

It never makes anybody wait: when it does not keep up the kernel drops messages, and how many is known from their
numbers. Memory is bounded by the two sockets' buffers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from calico.errors import ResyncRequired, Transient
from calico.netlink import wire
from calico.netlink.conntrack import DESTROY_GROUP, DESTROYED
from calico.netlink.nflog import MESSAGE_PACKET, LoggedPacket, bind_group, decode_packet, set_up_group
from calico.netlink.socket import NETLINK_NETFILTER, NetlinkSocket

__all__ = ["FLOW_LOG_GROUP", "FlowReader"]

FLOW_LOG_GROUP: Final = 80
"""The nflog group of our rules."""

_COPIED: Final = 128
"""Bytes of each packet: the headers that tell flows apart."""

_BATCH: Final = 32
_DELAY_CS: Final = 10
_BUFFER: Final = 4 << 20
_ACCOUNTING: Final = Path("/proc/sys/net/netfilter/nf_conntrack_acct")


class FlowReader:
    """The sockets of one network namespace. ``lost`` and ``lost_ends``: packets and (times of) ends that were dropped
    because nobody read them in time."""

    def __init__(self, group: int, *, buffer: int = _BUFFER) -> None:
        """Become the reader of the group, and have the kernel count what goes over new connections. ``buffer``: bytes
        that wait in each socket. Transient when that cannot be: another reads the group, or the kernel has no nflog."""
        self.lost = 0
        self.lost_ends = 0
        self._next = 0
        self._packets = NetlinkSocket(NETLINK_NETFILTER, rcvbuf=buffer, numbered=True)
        try:
            for request in (
                bind_group(self._packets.next_seq(), group),
                set_up_group(self._packets.next_seq(), group, copied=_COPIED, batch=_BATCH, delay_cs=_DELAY_CS),
            ):
                self._packets.request(request)
            self._ends = NetlinkSocket(NETLINK_NETFILTER, groups=(DESTROY_GROUP,), rcvbuf=buffer)
        except BaseException:
            self._packets.close()
            raise
        try:
            _ACCOUNTING.write_text("1")
        except OSError as error:
            self.close()
            raise Transient(f"{_ACCOUNTING}: {error.strerror}") from error

    def close(self) -> None:
        """The group has no reader any more; what rules log to it costs little then, and is lost."""
        self._packets.close()
        self._ends.close()

    def filenos(self) -> tuple[int, int]:
        """What becomes readable when there is something to read."""
        return self._packets.fileno(), self._ends.fileno()

    def read(self, budget_s: float, on_packet: Callable[[LoggedPacket], None], on_end: Callable[[bytes], None]) -> bool:
        """Hand over what is there, for at most about ``budget_s``; whether there may be more. Packets come before
        ends, so that a flow is known when its end is told. ``on_end`` gets the payload of the event."""
        end = time.monotonic() + budget_s
        for datagram in self._datagrams(self._packets, end):
            for message in wire.iter_messages(datagram):
                if message.type == MESSAGE_PACKET:
                    packet = decode_packet(message.payload)
                    self._note(packet.seq)
                    on_packet(packet)
        try:
            for datagram in self._datagrams(self._ends, end):
                for message in wire.iter_messages(datagram):
                    if message.type == DESTROYED:
                        on_end(message.payload)
        except ResyncRequired:
            self.lost_ends += 1
            return True
        return time.monotonic() >= end

    @staticmethod
    def _datagrams(sock: NetlinkSocket, end: float) -> Iterator[bytes]:
        while True:
            datagram = sock.recv(wait=False)
            if not datagram:
                return
            yield datagram
            if time.monotonic() >= end:
                return

    def _note(self, seq: int | None) -> None:
        """The kernel begins with 0 for a new reader."""
        if seq is not None:
            self.lost += (seq - self._next) & 0xFFFFFFFF
            self._next = (seq + 1) & 0xFFFFFFFF
