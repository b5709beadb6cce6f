"""The conntrack codec over nfnetlink: which flows the kernel tracks for an address, and requests to forget them.

Sources: ``linux/netfilter/nfnetlink_conntrack.h``; the filter of dumps is ``CTA_FILTER`` (kernel 5.8 and later).
"""

from __future__ import annotations

import struct
from typing import Final, Literal

import msgspec

from calico.netlink import wire
from calico.netlink.rtnetlink.family import address_length, family_of
from calico.netlink.wire import WireError

__all__ = ["Flow", "Place", "count_flows", "decode_count", "decode_flow", "delete_flow", "dump_flows"]

Place = Literal["orig-src", "orig-dst", "reply-src", "reply-dst"]
"""Where in a flow an address stands. Without NAT the reply tuple is the original one turned round."""

_SUBSYSTEM: Final = 1 << 8
_GET: Final = _SUBSYSTEM | 1
_DELETE: Final = _SUBSYSTEM | 2
_GET_STATS: Final = _SUBSYSTEM | 5

_CTA_TUPLE_ORIG: Final = 1
_CTA_TUPLE_REPLY: Final = 2
_CTA_ID: Final = 12
_CTA_ZONE: Final = 18
_CTA_FILTER: Final = 25
_CTA_TUPLE_IP: Final = 1
_CTA_TUPLE_PROTO: Final = 2
_CTA_PROTO_NUM: Final = 1
_CTA_STATS_GLOBAL_ENTRIES: Final = 1
_CTA_FILTER_ORIG_FLAGS: Final = 1
_CTA_FILTER_REPLY_FLAGS: Final = 2
_FILTER_IP_SRC: Final = 1
_FILTER_IP_DST: Final = 2

_HEADER = struct.Struct("=BBH")  # nfgenmsg: family, version, resource id


class Flow(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One tracked flow. ``key`` holds the attributes that name it to the kernel, as received."""

    family: int
    orig_src: bytes
    orig_dst: bytes
    reply_src: bytes
    reply_dst: bytes
    protocol: int
    key: bytes

    @property
    def addresses(self) -> frozenset[bytes]:
        """The addresses in both tuples."""
        return frozenset((self.orig_src, self.orig_dst, self.reply_src, self.reply_dst))


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


def decode_flow(payload: bytes) -> Flow:
    """A flow from an answer to a dump."""
    if len(payload) < _HEADER.size:
        raise WireError(f"conntrack message of {len(payload)} bytes")
    family = payload[0]
    attrs = wire.parse_attrs(payload[_HEADER.size :])
    orig, reply = attrs.get(_CTA_TUPLE_ORIG, b""), attrs.get(_CTA_TUPLE_REPLY, b"")
    orig_src, orig_dst = _addresses(orig, family)
    reply_src, reply_dst = _addresses(reply, family)
    key = wire.nested(_CTA_TUPLE_ORIG, orig)
    for kind in (_CTA_ID, _CTA_ZONE):
        if kind in attrs:
            key += wire.attr(kind, attrs[kind])
    return Flow(
        family=family,
        orig_src=orig_src,
        orig_dst=orig_dst,
        reply_src=reply_src,
        reply_dst=reply_dst,
        protocol=_protocol(orig),
        key=key,
    )


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


def _addresses(tuple_attrs: bytes, family: int) -> tuple[bytes, bytes]:
    ip = wire.parse_attrs(wire.parse_attrs(tuple_attrs).get(_CTA_TUPLE_IP, b""))
    size = address_length(family)
    src, dst = (ip.get(kind, b"") for kind in ((1, 2) if size == 4 else (3, 4)))
    if len(src) != size or len(dst) != size:
        raise WireError(f"conntrack tuple with addresses of {len(src)} and {len(dst)} bytes in family {family}")
    return src, dst


def _protocol(tuple_attrs: bytes) -> int:
    proto = wire.parse_attrs(wire.parse_attrs(tuple_attrs).get(_CTA_TUPLE_PROTO, b""))
    return (proto.get(_CTA_PROTO_NUM) or b"\0")[0]
