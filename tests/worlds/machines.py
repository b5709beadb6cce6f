"""The scene of ``scene`` as namespaces: a router with an interface for each workload and one outside, all dual stack.

Nobody owns the addresses of workloads, so nobody answers and every packet stays the first of its connection. Packets
are put on the wire as frames and seen by whoever receives them; what reaches the router itself is seen by raw sockets,
which are behind its packet filter.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from calico.dataplane.links import Links
from calico.dataplane.netns import in_netns, temporary_netns
from calico.lib.packed import addr_str
from worlds.aim import NUMBERS
from worlds.scene import HOST_ADDRESSES, SLOTS, UPLINK, addresses_behind
from worlds.wire import arrival, frame

__all__ = ["LISTENED", "Machines", "machines", "on_one_processor"]

LISTENED = tuple(number for number in NUMBERS if number < 255)
"""Protocols that the router itself listens to; to 255 no socket can."""

_ROUTER_MAC = bytes.fromhex("eeeeeeeeeeee")
_GATEWAYS = ("169.254.66.1", "fe80::66")
_SYSCTLS = {
    "ipv4/ip_forward": "1",
    "ipv6/conf/all/forwarding": "1",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/send_redirects": "0",
    "netfilter/nf_conntrack_checksum": "0",
}
_SOL_PACKET, _PACKET_IGNORE_OUTGOING, _SO_RCVBUFFORCE = 263, 23, 33
_FENCES = 3
"""A packet goes through the queue of its processor twice, so what the third fence follows is done."""


class Machines:
    """Everything there is to send with and to listen to. Made by ``machines``."""

    def __init__(self, router: str, others: dict[str, str], stack: ExitStack) -> None:
        self.router = router
        self._macs = {name: bytes((2, 0, 0, 0, 0, number)) for number, name in enumerate(others, 1)}
        self._wire(others)
        self.taps = {name: in_netns(netns, lambda: _tap("eth0")) for name, netns in others.items()}
        self._host = in_netns(router, _listeners)
        self._raw = in_netns(router, lambda: [socket.socket(f, socket.SOCK_RAW, 255) for f in (2, 10)])
        self._fence = in_netns(router, lambda: (_tap("fence0"), _tap("fence1")))
        for sock in (*self.taps.values(), *self._host, *self._raw, *self._fence):
            stack.callback(sock.close)

    def send(self, machine: str, data: bytes) -> None:
        """Put a packet on the wire of a workload, or of the machine outside."""
        self.taps[machine].send(frame(data, self._macs[machine], _ROUTER_MAC))

    def send_from_host(self, data: bytes) -> None:
        """Let the router itself send a packet; one that its own filter refuses is not sent."""
        v4, v6 = self._raw
        try:
            if data[0] >> 4 == 4:
                v4.sendto(data, (addr_str(data[16:20]), 0))
            else:
                v6.sendto(data, (addr_str(data[24:40]), 0))
        except PermissionError:
            pass

    def settle(self) -> None:
        """Return when the kernel has dealt with every packet sent so far by this thread on this processor."""
        one, other = self._fence
        for _ in range(_FENCES):
            one.send(bytes(12) + b"\x88\xb5" + b"fence".ljust(46))
            other.setblocking(True)
            while b"fence" not in other.recv(100):
                pass

    def seen(self) -> Iterator[tuple[str, tuple[int, bytes, bytes]]]:
        """(machine, arrival) of every packet of ours that waits; machine is empty for the router itself."""
        for name, tap in self.taps.items():
            yield from ((name, found) for found in _waiting(tap, 14))
        for listener in self._host:
            yield from (("", found) for found in _waiting(listener, 0))

    def _wire(self, others: dict[str, str]) -> None:
        in_netns(self.router, _set_sysctls)
        with Links(self.router) as links:
            links.set_up("lo")
            links.create_veth("fence0", "fence1")
            for address in HOST_ADDRESSES:
                links.add_address("lo", f"{address}/{128 if ':' in address else 32}")
            for name, netns in others.items():
                links.create_veth(name, "eth0", peer_netns=netns, mac=_ROUTER_MAC, peer_mac=self._macs[name])
                for address in (*_GATEWAYS[: 2 * (name == UPLINK)], *addresses_behind(name)):
                    if not address.startswith("fe80"):
                        links.add_route(f"{address}/{128 if ':' in address else 32}", dev=name)
                    links.add_neighbour(name, address, self._macs[name])
            for everything, gateway in zip(("0.0.0.0/0", "::/0"), _GATEWAYS, strict=True):
                links.add_route(everything, via=gateway, dev=UPLINK)


@contextmanager
def machines() -> Iterator[Machines]:
    """All namespaces, for the length of a with block."""
    prefix = f"worlds-{uuid.uuid4().hex[:8]}"
    with ExitStack() as stack:
        router = stack.enter_context(temporary_netns(f"{prefix}-r"))
        names = (*SLOTS, UPLINK)
        others = {name: stack.enter_context(temporary_netns(f"{prefix}-{name}")) for name in names}
        yield Machines(router, others, stack)


@contextmanager
def on_one_processor() -> Iterator[None]:
    """Keep this thread on one processor, so that all its packets go through one queue, in order."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _set_sysctls() -> None:
    for name, value in _SYSCTLS.items():
        Path("/proc/sys/net", name).write_text(value)


def _tap(interface: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 16 << 20)
    sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    sock.bind((interface, 3))
    sock.setblocking(False)
    return sock


def _listeners() -> list[socket.socket]:
    socks = [socket.socket(family, socket.SOCK_RAW, number) for family in (2, 10) for number in LISTENED]
    for sock in socks:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 4 << 20)
        sock.setblocking(False)
    return socks


def _waiting(sock: socket.socket, skip: int) -> Iterator[tuple[int, bytes, bytes]]:
    while True:
        try:
            data = sock.recv(2048)
        except BlockingIOError:
            return
        found = arrival(data[skip:])
        if found is not None:
            yield found
