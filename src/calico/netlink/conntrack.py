"""The conntrack codec over nfnetlink: which flows the kernel tracks for an address, and requests to forget them.

Sources: ``linux/netfilter/nfnetlink_conntrack.h``; the filter of dumps is ``CTA_FILTER`` (kernel 5.8 and later).
"""

from __future__ import annotations

import struct
from typing import Final, Literal

import msgspec

from calico.netlink import wire
from calico.netlink.rtnetlink.family import AF_INET, AF_INET6, address_length, family_of
from calico.netlink.wire import WireError

__all__ = [
    "DESTROYED",
    "DESTROY_GROUP",
    "Flow",
    "Place",
    "Way",
    "count_flows",
    "decode_count",
    "decode_counts",
    "decode_flow",
    "decode_way",
    "delete_flow",
    "dump_flows",
    "get_flow",
    "peek_ends",
]

Place = Literal["orig-src", "orig-dst", "reply-src", "reply-dst"]
"""Where in a flow an address stands. Without NAT the reply tuple is the original one turned round."""

_SUBSYSTEM: Final = 1 << 8
_GET: Final = _SUBSYSTEM | 1
_DELETE: Final = _SUBSYSTEM | 2
_GET_STATS: Final = _SUBSYSTEM | 5
DESTROYED: Final = _DELETE
"""Type of the event that a flow has ended."""
DESTROY_GROUP: Final = 3
"""Multicast group of these events (NFNLGRP_CONNTRACK_DESTROY)."""

_CTA_TUPLE_ORIG: Final = 1
_CTA_TUPLE_REPLY: Final = 2
_CTA_STATUS: Final = 3
_CTA_PROTOINFO: Final = 4
_CTA_HELP: Final = 5
_CTA_COUNTERS_ORIG: Final = 9
_CTA_COUNTERS_REPLY: Final = 10
_CTA_ID: Final = 12
_CTA_TUPLE_MASTER: Final = 14
_CTA_ZONE: Final = 18
_CTA_FILTER: Final = 25
_CTA_TUPLE_IP: Final = 1
_CTA_TUPLE_PROTO: Final = 2
_CTA_PROTO_NUM: Final = 1
_CTA_PROTO_SRC_PORT: Final = 2
_CTA_PROTO_DST_PORT: Final = 3
_ICMP_TYPES: Final = {1: (5, 6), 58: (8, 9)}
"""The attributes of type and code, by protocol."""
_IPS_EXPECTED: Final = 1
_CTA_PROTOINFO_TCP: Final = 1
_CTA_PROTOINFO_TCP_FLAGS_ORIGINAL: Final = 4
_TCP_BE_LIBERAL: Final = 8
"""``IP_CT_TCP_FLAG_BE_LIBERAL``: set when a connection is picked up (``tcp_new`` in nf_conntrack_proto_tcp.c)."""
_CTA_STATS_GLOBAL_ENTRIES: Final = 1
_CTA_FILTER_ORIG_FLAGS: Final = 1
_CTA_FILTER_REPLY_FLAGS: Final = 2
_FILTER_IP_SRC: Final = 1
_FILTER_IP_DST: Final = 2

_HEADER = struct.Struct("=BBH")  # nfgenmsg: family, version, resource id
_TUPLE_START = struct.Struct("=HHHHHH")  # length and type of a tuple, of its addresses, and of the first of these
_NESTED: Final = 0x8000
_USUAL: Final = {AF_INET: (20, _CTA_TUPLE_IP | _NESTED, 8, 1), AF_INET6: (44, _CTA_TUPLE_IP | _NESTED, 20, 3)}
"""What follows the length and type of a tuple when it begins with its addresses and those with the source."""


class Way(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One tuple: what the packets of one direction of a flow look like. ``icmp`` is (type, code); ports are 0 for
    protocols without."""

    src: bytes
    dst: bytes
    protocol: int = 0
    sport: int = 0
    dport: int = 0
    icmp: tuple[int, int] = (0, 0)


class Flow(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One tracked flow: its original direction and the replies as they arrive, both before translation back.

    ``key`` holds the attributes that name it to the kernel and ``orig_attrs`` the content of its original tuple, as
    received. ``master`` is such a content of the flow by which this one was expected, if it was; ``helped``: a helper
    may make it expect others. ``picked_up``: tracking of this TCP connection began in its middle, so that the original
    direction is only that of the first packet seen.
    """

    family: int
    orig: Way
    reply: Way
    key: bytes
    zone: bytes = b""
    orig_attrs: bytes = b""
    master: bytes = b""
    helped: bool = False
    picked_up: bool = False

    @property
    def addresses(self) -> frozenset[bytes]:
        """The addresses in both tuples."""
        return frozenset((self.orig.src, self.orig.dst, self.reply.src, self.reply.dst))


def dump_flows(seq: int, family: int, address: bytes = b"", place: Place = "orig-src") -> bytes:
    """Flows of a family (0: both); with ``address`` only those that have it in ``place`` (filtered by the kernel)."""
    body = _HEADER.pack(family, 0, 0)
    if address:
        body += _filter(address, place)
    return wire.message(_GET, wire.NLM_F_REQUEST | wire.NLM_F_DUMP, seq, body)


def count_flows(seq: int) -> bytes:
    """Ask how many flows the namespace has; the answer is for ``decode_count``."""
    return wire.message(_GET_STATS, wire.NLM_F_REQUEST, seq, _HEADER.pack(0, 0, 0))


def decode_count(payload: bytes) -> int:
    """The number of flows from the answer to ``count_flows``."""
    if len(payload) < _HEADER.size:
        raise WireError(f"conntrack message of {len(payload)} bytes")
    return wire.be32(wire.parse_attrs(payload[_HEADER.size :]).get(_CTA_STATS_GLOBAL_ENTRIES, b""))


def delete_flow(seq: int, flow: Flow) -> bytes:
    """Forget exactly this flow (its id included); ENOENT when it has ended."""
    return wire.message(_DELETE, wire.NLM_F_REQUEST, seq, _HEADER.pack(flow.family, 0, 0) + flow.key)


def get_flow(seq: int, family: int, tuple_attrs: bytes, zone: bytes = b"") -> bytes:
    """Ask for the flow with an original tuple, given by its content; ENOENT when there is none."""
    body = _HEADER.pack(family, 0, 0) + wire.nested(_CTA_TUPLE_ORIG, tuple_attrs)
    if zone:
        body += wire.attr(_CTA_ZONE, zone)
    return wire.message(_GET, wire.NLM_F_REQUEST, seq, body)


def decode_flow(payload: bytes) -> Flow:
    """A flow from an answer to a dump or to ``get_flow``."""
    if len(payload) < _HEADER.size:
        raise WireError(f"conntrack message of {len(payload)} bytes")
    family = payload[0]
    attrs = wire.parse_attrs(payload[_HEADER.size :])
    orig = attrs.get(_CTA_TUPLE_ORIG, b"")
    key = wire.nested(_CTA_TUPLE_ORIG, orig)
    for kind in (_CTA_ID, _CTA_ZONE):
        if kind in attrs:
            key += wire.attr(kind, attrs[kind])
    expected = wire.be32(attrs.get(_CTA_STATUS, bytes(4))) & _IPS_EXPECTED
    return Flow(
        family=family,
        orig=decode_way(family, orig),
        reply=decode_way(family, attrs.get(_CTA_TUPLE_REPLY, b"")),
        key=key,
        zone=attrs.get(_CTA_ZONE, b""),
        orig_attrs=orig,
        master=attrs.get(_CTA_TUPLE_MASTER, b"") if expected else b"",
        helped=_CTA_HELP in attrs,
        picked_up=_is_picked_up(attrs.get(_CTA_PROTOINFO, b"")),
    )


def decode_way(family: int, tuple_attrs: bytes) -> Way:
    """A tuple from its content."""
    parts = wire.parse_attrs(tuple_attrs)
    ip = wire.parse_attrs(parts.get(_CTA_TUPLE_IP, b""))
    size = address_length(family)
    src, dst = (ip.get(kind, b"") for kind in ((1, 2) if size == 4 else (3, 4)))
    if len(src) != size or len(dst) != size:
        raise WireError(f"conntrack tuple with addresses of {len(src)} and {len(dst)} bytes in family {family}")
    proto = wire.parse_attrs(parts.get(_CTA_TUPLE_PROTO, b""))
    number = (proto.get(_CTA_PROTO_NUM) or b"\0")[0]
    if number in _ICMP_TYPES:
        kind, code = ((proto.get(attr) or b"\0")[0] for attr in _ICMP_TYPES[number])
        return Way(src=src, dst=dst, protocol=number, icmp=(kind, code))
    sport, dport = (wire.be16(proto.get(attr, b"\0\0")) for attr in (_CTA_PROTO_SRC_PORT, _CTA_PROTO_DST_PORT))
    return Way(src=src, dst=dst, protocol=number, sport=sport, dport=dport)


def decode_counts(payload: bytes) -> tuple[tuple[int, int], tuple[int, int]]:
    """(packets, bytes) of a flow in its original direction and of the replies; zeros where the kernel does not count
    (sysctl net.netfilter.nf_conntrack_acct)."""
    attrs = wire.parse_attrs(payload[_HEADER.size :])
    return _counts(attrs.get(_CTA_COUNTERS_ORIG, b"")), _counts(attrs.get(_CTA_COUNTERS_REPLY, b""))


def _counts(payload: bytes) -> tuple[int, int]:
    found = wire.parse_attrs(payload)
    return wire.be64(found.get(1, bytes(8))), wire.be64(found.get(2, bytes(8)))


def peek_ends(payload: bytes) -> tuple[bytes, bytes]:
    """(source, destination) of a flow as a packet filter saw its first packet: the source of the original tuple and
    that of the reply. Enough to skip most of a long dump cheaply; what is not laid out as usual is decoded."""
    family = payload[0] if payload else 0
    usual, size = _USUAL.get(family), 4 if family == AF_INET else 16
    ends: list[bytes] = []
    at = _HEADER.size
    for kind in (_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY):
        if len(payload) < at + _TUPLE_START.size + size:
            break
        length, found, *rest = _TUPLE_START.unpack_from(payload, at)
        if found != kind | _NESTED or tuple(rest) != usual:
            break
        ends.append(payload[at + _TUPLE_START.size : at + _TUPLE_START.size + size])
        at += length + 3 & ~3
    if len(ends) == 2:
        return ends[0], ends[1]
    flow = decode_flow(payload)
    return flow.orig.src, flow.reply.src


def _is_picked_up(protocol_info: bytes) -> bool:
    tcp = wire.parse_attrs(wire.parse_attrs(protocol_info).get(_CTA_PROTOINFO_TCP, b""))
    flags = tcp.get(_CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, b"")
    return bool(flags and flags[0] & _TCP_BE_LIBERAL)


def _filter(address: bytes, place: Place) -> bytes:
    """A tuple with one address, and the flags that say what of it must match."""
    tuple_name, _, end = place.partition("-")
    source = end == "src"
    kind = {4: (1, 2), 16: (3, 4)}[address_length(family_of(address))][0 if source else 1]
    orig = tuple_name == "orig"
    match = wire.nested(_CTA_TUPLE_IP, wire.attr(kind, address))
    flags = wire.attr_u32(
        _CTA_FILTER_ORIG_FLAGS if orig else _CTA_FILTER_REPLY_FLAGS, _FILTER_IP_SRC if source else _FILTER_IP_DST
    )
    return wire.nested(_CTA_TUPLE_ORIG if orig else _CTA_TUPLE_REPLY, match) + wire.nested(_CTA_FILTER, flags)
