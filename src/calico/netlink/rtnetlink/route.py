"""Routes of the kernel's FIB, with single and multiple next hops."""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from calico.netlink import wire
from calico.netlink.rtnetlink.address import SCOPE_GLOBAL, SCOPE_LINK
from calico.netlink.rtnetlink.family import AF_INET, AF_INET6, address_length, family_of
from calico.netlink.wire import WireError

__all__ = [
    "IP6_DEFAULT_METRIC",
    "ONLINK",
    "PROTO_BOOT",
    "PROTO_KERNEL",
    "PROTO_STATIC",
    "RTM_DELROUTE",
    "RTM_GETROUTE",
    "RTM_NEWROUTE",
    "TABLE_LOCAL",
    "TABLE_MAIN",
    "TYPE_BLACKHOLE",
    "TYPE_LOCAL",
    "TYPE_THROW",
    "TYPE_UNICAST",
    "TYPE_UNREACHABLE",
    "KernelRoute",
    "NextHop",
    "decode_route",
    "delete_route",
    "dump_routes",
    "encode_route",
    "lookup_route",
    "new_route",
    "on_link_scope",
    "peek_route",
]

RTM_NEWROUTE: Final = 24
RTM_DELROUTE: Final = 25
RTM_GETROUTE: Final = 26

TABLE_MAIN: Final = 254
TABLE_LOCAL: Final = 255
TYPE_UNICAST: Final = 1
TYPE_LOCAL: Final = 2
TYPE_BLACKHOLE: Final = 6
TYPE_UNREACHABLE: Final = 7
TYPE_THROW: Final = 9
"""The next rule is asked."""
PROTO_KERNEL: Final = 2
PROTO_BOOT: Final = 3
PROTO_STATIC: Final = 4
IP6_DEFAULT_METRIC: Final = 1024
"""What the kernel makes of metric 0 in IPv6 (IP6_RT_PRIO_USER)."""

ONLINK: Final = 0x4
"""Flag: the gateway is on the link (RTNH_F_ONLINK)."""

_RTM_F_CLONED: Final = 0x200
_RTA_DST: Final = 1
_RTA_OIF: Final = 4
_RTA_GATEWAY: Final = 5
_RTA_PRIORITY: Final = 6
_RTA_PREFSRC: Final = 7
_RTA_MULTIPATH: Final = 9
_RTA_TABLE: Final = 15
_RTA_VIA: Final = 18

_HEADER = struct.Struct("=BBBBBBBBI")  # family, dst len, src len, tos, table, protocol, scope, type, flags
_HOP = struct.Struct("=HBBi")  # length, flags, weight - 1, index
_VIA_FAMILY = struct.Struct("=H")


class NextHop(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One way out: interface and, unless the destination is on the link, a gateway (of either family)."""

    oif: int = 0
    gateway: bytes = b""
    weight: int = 1
    flags: int = 0


class KernelRoute(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A route as the kernel has it. ``dst`` is a packed net; no hops for blackhole and unreachable.

    ``metric`` 0 in IPv6 comes back from the kernel as ``IP6_DEFAULT_METRIC``.
    """

    dst: bytes
    hops: tuple[NextHop, ...] = ()
    metric: int = 0
    protocol: int = PROTO_BOOT
    scope: int = SCOPE_GLOBAL
    table: int = TABLE_MAIN
    type: int = TYPE_UNICAST
    source: bytes = b""
    tos: int = 0
    flags: int = 0

    @property
    def oif(self) -> int:
        """Index of the first way out; 0 without one."""
        return self.hops[0].oif if self.hops else 0

    @property
    def cached(self) -> bool:
        """An exception that IPv6 keeps for one destination, not a route somebody made."""
        return bool(self.flags & _RTM_F_CLONED)


def dump_routes(seq: int, family: int = 0) -> bytes:
    """All routes of all tables, of one family if given."""
    header = _HEADER.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
    return wire.message(RTM_GETROUTE, wire.NLM_F_REQUEST | wire.NLM_F_DUMP, seq, header)


def lookup_route(seq: int, address: bytes) -> bytes:
    """Ask which route a packet of this host to a packed address would take."""
    header = _HEADER.pack(family_of(address), len(address) * 8, 0, 0, 0, 0, 0, 0, 0)
    return wire.message(RTM_GETROUTE, wire.NLM_F_REQUEST, seq, header + wire.attr(_RTA_DST, address))


def new_route(seq: int, route: KernelRoute, *, replace: bool = False) -> bytes:
    """Add a route (EEXIST if one of the same destination and metric is there), or put it in that one's place."""
    flags = wire.NLM_F_REQUEST | wire.NLM_F_CREATE | (wire.NLM_F_REPLACE if replace else wire.NLM_F_EXCL)
    return wire.message(RTM_NEWROUTE, flags, seq, encode_route(route))


def delete_route(seq: int, route: KernelRoute) -> bytes:
    """Remove the route that agrees in all that is given, protocol included; ESRCH if there is none."""
    return wire.message(RTM_DELROUTE, wire.NLM_F_REQUEST, seq, encode_route(route))


def encode_route(route: KernelRoute) -> bytes:
    """The payload of a route message."""
    dst, length = route.dst[:-1], route.dst[-1]
    family = family_of(dst)
    table = route.table if route.table < 256 else 0
    body = _HEADER.pack(family, length, 0, route.tos, table, route.protocol, route.scope, route.type, route.flags)
    if length:
        body += wire.attr(_RTA_DST, dst)
    if route.table > 255:
        body += wire.attr_u32(_RTA_TABLE, route.table)
    if route.metric:
        body += wire.attr_u32(_RTA_PRIORITY, route.metric)
    if route.source:
        body += wire.attr(_RTA_PREFSRC, route.source)
    if len(route.hops) == 1:
        hop = route.hops[0]
        return body + _encode_gateway(family, hop.gateway) + (wire.attr_u32(_RTA_OIF, hop.oif) if hop.oif else b"")
    if route.hops:
        body += wire.attr(_RTA_MULTIPATH, b"".join(_encode_hop(family, hop) for hop in route.hops))
    return body


def peek_route(payload: bytes) -> tuple[int, int, int, int]:
    """(family, destination length, table's low byte, protocol): enough to skip most of a long dump cheaply."""
    if len(payload) < _HEADER.size:
        raise WireError(f"route message of {len(payload)} bytes")
    return payload[0], payload[1], payload[4], payload[5]


def decode_route(payload: bytes) -> KernelRoute:
    """A route from an RTM_NEWROUTE or RTM_DELROUTE payload; WireError for families other than IP."""
    if len(payload) < _HEADER.size:
        raise WireError(f"route message of {len(payload)} bytes")
    family, length, _, tos, table, protocol, scope, kind, flags = _HEADER.unpack_from(payload)
    attrs = wire.parse_attrs(payload[_HEADER.size :])
    size = address_length(family)
    dst = attrs.get(_RTA_DST, bytes(size))
    if len(dst) != size or length > size * 8:
        raise WireError(f"destination of {len(dst)} bytes with prefix length {length} in family {family}")
    return KernelRoute(
        dst=dst + bytes((length,)),
        hops=_decode_hops(attrs),
        metric=wire.u32(attrs[_RTA_PRIORITY]) if _RTA_PRIORITY in attrs else 0,
        protocol=protocol,
        scope=scope,
        table=wire.u32(attrs[_RTA_TABLE]) if _RTA_TABLE in attrs else table,
        type=kind,
        source=attrs.get(_RTA_PREFSRC, b""),
        tos=tos,
        flags=flags,
    )


def _decode_hops(attrs: dict[int, bytes]) -> tuple[NextHop, ...]:
    if _RTA_MULTIPATH not in attrs:
        oif = wire.u32(attrs[_RTA_OIF]) if _RTA_OIF in attrs else 0
        gateway = _decode_gateway(attrs)
        return (NextHop(oif=oif, gateway=gateway),) if oif or gateway else ()
    hops, buf, offset = [], attrs[_RTA_MULTIPATH], 0
    while offset + _HOP.size <= len(buf):
        length, flags, weight, oif = _HOP.unpack_from(buf, offset)
        if length < _HOP.size or offset + length > len(buf):
            raise WireError(f"next hop of {length} bytes at {offset} of {len(buf)}")
        gateway = _decode_gateway(wire.parse_attrs(buf[offset + _HOP.size : offset + length]))
        hops.append(NextHop(oif=oif, gateway=gateway, weight=weight + 1, flags=flags))
        offset += (length + 3) & ~3
    if offset < len(buf):
        raise WireError(f"{len(buf) - offset} bytes after the last next hop")
    return tuple(hops)


def _decode_gateway(attrs: dict[int, bytes]) -> bytes:
    if _RTA_GATEWAY in attrs:
        gateway = attrs[_RTA_GATEWAY]
    elif _RTA_VIA in attrs:
        gateway = attrs[_RTA_VIA][2:]
    else:
        return b""
    if len(gateway) not in (4, 16):
        raise WireError(f"gateway of {len(gateway)} bytes")
    return gateway


def _encode_hop(family: int, hop: NextHop) -> bytes:
    gateway = _encode_gateway(family, hop.gateway)
    if not 1 <= hop.weight <= 256:
        raise WireError(f"next hop weight {hop.weight} is not in 1-256")
    return _HOP.pack(_HOP.size + len(gateway), hop.flags & 0xFF, hop.weight - 1, hop.oif) + gateway


def _encode_gateway(family: int, gateway: bytes) -> bytes:
    if not gateway:
        return b""
    if family_of(gateway) == family:
        return wire.attr(_RTA_GATEWAY, gateway)
    if family != AF_INET:
        raise WireError("an IPv6 route cannot have an IPv4 gateway")
    return wire.attr(_RTA_VIA, _VIA_FAMILY.pack(AF_INET6) + gateway)


def on_link_scope(dst: bytes, gateway: bytes) -> int:
    """The scope the kernel wants for a unicast route: link for an IPv4 destination without gateway."""
    return SCOPE_LINK if len(dst) == 5 and not gateway else SCOPE_GLOBAL
