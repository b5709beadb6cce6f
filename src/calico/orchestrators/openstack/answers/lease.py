"""What one port is told: always the same, for its addresses are given by Neutron and not by whoever answers.

Addresses are packed (4 or 16 bytes), networks packed with their prefix length behind, as in ``calico.lib.packed``.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

__all__ = ["INFINITE", "Lease", "Lease4", "Lease6", "Mode", "Route", "server_mac"]

INFINITE: Final = 0xFFFFFFFF
"""A time that does not end (RFC 2131 section 3.3, RFC 8415 section 7.7)."""

Mode: TypeAlias = Literal["slaac", "dhcpv6-stateful", "dhcpv6-stateless"]


class Route(msgspec.Struct, frozen=True):
    """``net`` by way of ``nexthop``; 0.0.0.0 as next hop: on the link."""

    net: bytes
    nexthop: bytes


class Lease4(msgspec.Struct, frozen=True, kw_only=True):
    """The one IPv4 address that DHCP can give. ``server`` is who we say that we are: an address for which Felix makes
    the host answer ARP. ``gateway`` is empty when the subnet has none."""

    address: bytes
    prefix_len: int
    server: bytes
    gateway: bytes = b""
    dns: tuple[bytes, ...] = ()
    routes: tuple[Route, ...] = ()


class Lease6(msgspec.Struct, frozen=True, kw_only=True):
    """One IPv6 address, and how its subnet wants instances to come by it."""

    address: bytes
    net: bytes
    mode: Mode = "dhcpv6-stateful"
    routes: tuple[bytes, ...] = ()


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """All that a port is told. Always true: what is here fits in the messages that carry it.

    ``mtu`` 0: nothing is said about it. ``domain`` is empty or ends without a dot, as do ``search``. Extra options are
    (code, value) in the order they are sent; ``next_server`` is the BOOTP field (packed, or empty). Times are seconds.
    """

    interface: str
    mac: bytes
    v4: Lease4 | None = None
    v6: tuple[Lease6, ...] = ()
    dns6: tuple[bytes, ...] = ()
    mtu: int = 0
    hostname: str = ""
    domain: str = ""
    search: tuple[str, ...] = ()
    extra4: tuple[tuple[int, bytes], ...] = ()
    extra6: tuple[tuple[int, bytes], ...] = ()
    next_server: bytes = b""
    lease_s: int = 86400

    @property
    def t1_s(self) -> int:
        """When the client should renew: half of the lease (RFC 2131 section 4.4.5, RFC 8415 section 14.2)."""
        return INFINITE if self.lease_s == INFINITE else self.lease_s // 2

    @property
    def t2_s(self) -> int:
        """When it should ask anybody."""
        return INFINITE if self.lease_s == INFINITE else self.lease_s * 7 // 8


def server_mac(mac: bytes) -> bytes:
    """The MAC by which the DHCPv6 server of a port is known, the same on every host: what Neutron's side asks the tap
    to have."""
    return b"\xfe" + mac[1:]
