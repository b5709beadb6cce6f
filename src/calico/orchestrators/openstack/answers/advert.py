"""Router advertisements (RFC 4861 section 4.2) as the answer to a solicitation, or unasked.

The router is the host's end of the port's link. No prefix is on the link: whatever an instance sends goes to its host,
also to instances of the same subnet, which is how traffic between them is routed and policed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from calico.orchestrators.openstack.answers.frames import ALL_NODES, Request, icmp6_frame
from calico.orchestrators.openstack.answers.lease import INFINITE, Lease
from calico.orchestrators.openstack.answers.names import domains_bytes
from calico.orchestrators.openstack.answers.outcome import Outcome

__all__ = ["INTERVAL_S", "ROUTER_LIFETIME_S", "advertisement", "answer_solicitation"]

ROUTER_LIFETIME_S: Final = 9000
"""The longest that RFC 4861 section 6.2.1 knows: an agent that is away for two hours costs nobody the default route."""

INTERVAL_S: Final = (200.0, 600.0)
"""Between two unasked advertisements, at random."""

_SOLICITATION, _ADVERTISEMENT = 133, 134
_MANAGED, _OTHER = 0x80, 0x40
_AUTONOMOUS: Final = 0x40
_SOURCE_MAC, _PREFIX, _MTU, _ROUTE, _RDNSS, _DNSSL = 1, 3, 5, 24, 25, 31
_HOPS: Final = 64
_UNSPECIFIED: Final = b"\0" * 16
_LINK_LOCAL: Final = b"\xfe\x80"
_ALL_ROUTERS: Final = bytes.fromhex("ff020000000000000000000000000002")
_FIXED = struct.Struct("!BBHBBHII")
_MIN_MTU: Final = 1280


def answer_solicitation(lease: Lease, mac: bytes, link_local: bytes, request: Request) -> Outcome:
    """The answer to a router solicitation, if that is a valid one (RFC 4861 section 6.1.1) of the port's."""
    if not _is_valid(request):
        return Outcome("ra", "malformed")
    if request.src_mac != lease.mac:
        return Outcome("ra", "foreign-mac")
    if not lease.v6:
        return Outcome("ra", "no-address")
    to = ALL_NODES if request.src == _UNSPECIFIED else request.src
    return Outcome("ra", "solicitation", "advertisement", _frame(lease, mac, link_local, to))


def advertisement(lease: Lease, mac: bytes, link_local: bytes) -> Outcome:
    """An unasked one, to all nodes of the link: there is one. No frame when the port has no IPv6."""
    if not lease.v6:
        return Outcome("ra", "no-address")
    return Outcome("ra", "unasked", "advertisement", _frame(lease, mac, link_local, ALL_NODES))


def _is_valid(request: Request) -> bool:
    message = request.payload
    if request.hop_limit != 255 or len(message) < 8 or message[:2] != bytes((_SOLICITATION, 0)):
        return False
    if request.dst != _ALL_ROUTERS and not request.dst.startswith(_LINK_LOCAL):
        return False
    at = 8
    while at < len(message):
        length = message[at + 1] * 8 if at + 1 < len(message) else 0
        if not length or at + length > len(message):
            return False
        if message[at] == _SOURCE_MAC and request.src == _UNSPECIFIED:
            return False
        at += length
    return request.src == _UNSPECIFIED or request.src.startswith(_LINK_LOCAL)


def _frame(lease: Lease, mac: bytes, link_local: bytes, to: bytes) -> bytes:
    to_mac = b"\x33\x33" + to[12:] if to[0] == 0xFF else lease.mac
    return icmp6_frame(mac, to_mac, link_local, to, _message(lease, mac))


def _message(lease: Lease, mac: bytes) -> bytes:
    modes = {one.mode for one in lease.v6}
    flags = (_MANAGED | _OTHER if "dhcpv6-stateful" in modes else 0) | (_OTHER if "dhcpv6-stateless" in modes else 0)
    fixed = _FIXED.pack(_ADVERTISEMENT, 0, 0, _HOPS, flags, ROUTER_LIFETIME_S, 0, 0)
    return fixed + b"".join(_options(lease, mac))


def _options(lease: Lease, mac: bytes) -> Iterator[bytes]:
    yield bytes((_SOURCE_MAC, 1)) + mac
    if lease.mtu >= _MIN_MTU:
        yield bytes((_MTU, 1, 0, 0)) + lease.mtu.to_bytes(4, "big")
    lifetime = lease.lease_s
    for net in dict.fromkeys(one.net for one in lease.v6 if one.mode != "dhcpv6-stateful"):
        yield struct.pack("!BBBBIII", _PREFIX, 4, net[16], _AUTONOMOUS, lifetime, lifetime, 0) + net[:16]
    for net in dict.fromkeys(route for one in lease.v6 for route in one.routes):
        size = (net[16] + 63) // 64  # RFC 4191 section 2.3
        yield struct.pack("!BBBBI", _ROUTE, 1 + size, net[16], 0, ROUTER_LIFETIME_S) + net[: size * 8]
    if lease.dns6:
        head = struct.pack("!BBHI", _RDNSS, 1 + 2 * len(lease.dns6), 0, _of_dns(lifetime))
        yield head + b"".join(lease.dns6)
    if lease.search:
        names = domains_bytes(lease.search)
        names += b"\0" * (-len(names) % 8)
        yield struct.pack("!BBHI", _DNSSL, 1 + len(names) // 8, 0, _of_dns(lifetime)) + names


def _of_dns(lifetime: int) -> int:
    """At least until some advertisements were lost (RFC 8106 section 5.1)."""
    return INFINITE if lifetime == INFINITE else max(lifetime, ROUTER_LIFETIME_S)
