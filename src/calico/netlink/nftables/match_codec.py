"""Expressions that load, compare, change and look up data, to netlink and back.

Numbers are from ``linux/netfilter/nf_tables.h``. There is one pair of functions for each name that the kernel has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from calico.netlink import wire
from calico.netlink.nftables import uapi
from calico.netlink.nftables.data_codec import (
    constant,
    constant_of,
    decode_verdict,
    encode_verdict,
    flags_of,
    name_of,
    need,
    register,
    register_of,
)
from calico.netlink.nftables.expr import (
    Bitwise,
    Byteorder,
    Cmp,
    Ct,
    Expr,
    Exthdr,
    Fib,
    Immediate,
    Lookup,
    Meta,
    MetaSet,
    Payload,
    PayloadSet,
    Range,
    Verdict,
)
from calico.netlink.wire import WireError, attr, attr_be32, attr_str, nested

__all__ = ["DECODERS", "ENCODERS"]

_META: Final = {
    "protocol": 1,
    "mark": 3,
    "iif": 4,
    "oif": 5,
    "iifname": 6,
    "oifname": 7,
    "nfproto": 15,
    "l4proto": 16,
}
_CT: Final = {"state": 0, "direction": 1, "status": 2, "mark": 3}
_FIB_RESULT: Final = {"oif": 1, "type": 3}
_FIB_FLAGS: Final = {"saddr": 1, "daddr": 2, "mark": 4, "iif": 8, "oif": 16}
_CMP: Final = {"eq": 0, "neq": 1, "lt": 2, "lte": 3, "gt": 4, "gte": 5}
_RANGE: Final = {"eq": 0, "neq": 1}
_BASE: Final = {"link": 0, "network": 1, "transport": 2}
_BYTEORDER: Final = {"ntoh": 0, "hton": 1}
_LOOKUP_INVERTED: Final = 1
_EXTHDR_PRESENT: Final = 1
_CSUM_NONE: Final = 0
_CSUM_INET: Final = 1
_REG_VERDICT: Final = 0

_Encoded = tuple[str, tuple[bytes, ...]]


def _enc_verdict(e: Verdict) -> _Encoded:
    return "immediate", (attr_be32(1, _REG_VERDICT), nested(2, encode_verdict(e)))


def _enc_immediate(e: Immediate) -> _Encoded:
    return "immediate", (register(1, e.reg), constant(2, e.data))


def _dec_immediate(a: Mapping[int, bytes]) -> Expr:
    if wire.be32(need(a, 1)) == _REG_VERDICT:
        return decode_verdict(need(wire.parse_attrs(need(a, 2)), uapi.DATA_VERDICT))
    return Immediate(constant_of(need(a, 2)), register_of(a[1]))


def _enc_meta(e: Meta) -> _Encoded:
    return "meta", (attr_be32(2, _META[e.key]), register(1, e.reg))


def _enc_meta_set(e: MetaSet) -> _Encoded:
    return "meta", (attr_be32(2, _META[e.key]), register(3, e.reg))


def _dec_meta(a: Mapping[int, bytes]) -> Expr:
    key: Any = name_of(_META, wire.be32(need(a, 2)))
    if 3 in a:
        return MetaSet(key, register_of(a[3]))
    return Meta(key, register_of(need(a, 1)))


def _enc_payload(e: Payload) -> _Encoded:
    return "payload", (register(1, e.reg), attr_be32(2, _BASE[e.base]), attr_be32(3, e.offset), attr_be32(4, e.length))


def _enc_payload_set(e: PayloadSet) -> _Encoded:
    place = (attr_be32(2, _BASE["network"]), attr_be32(3, e.offset), attr_be32(4, e.length))
    kind = _CSUM_NONE if e.checksum is None else _CSUM_INET
    return "payload", (register(5, e.reg), *place, attr_be32(6, kind), attr_be32(7, e.checksum or 0))


def _dec_payload(a: Mapping[int, bytes]) -> Expr:
    base: Any = name_of(_BASE, wire.be32(need(a, 2)))
    if 5 in a:
        return _payload_set_of(base, a)
    return Payload(base, wire.be32(need(a, 3)), wire.be32(need(a, 4)), register_of(need(a, 1)))


def _payload_set_of(base: str, a: Mapping[int, bytes]) -> PayloadSet:
    kind = flags_of(a, 6, _CSUM_INET)
    if base != "network" or flags_of(a, 8, 0):
        raise WireError("a change outside the network header, or of a checksum beyond it")
    checksum = wire.be32(need(a, 7)) if kind == _CSUM_INET else None
    return PayloadSet(wire.be32(need(a, 3)), wire.be32(need(a, 4)), checksum, register_of(a[5]))


def _enc_exthdr(e: Exthdr) -> _Encoded:
    place = (attr(2, bytes((e.type,))), attr_be32(3, 0), attr_be32(4, 1), attr_be32(5, _EXTHDR_PRESENT))
    return "exthdr", (register(1, e.reg), *place)


def _dec_exthdr(a: Mapping[int, bytes]) -> Expr:
    if wire.be32(a.get(5, b"\0\0\0\0")) != _EXTHDR_PRESENT or wire.be32(a.get(6, b"\0\0\0\0")) != 0:
        raise WireError("extension header match other than for presence in IPv6")
    return Exthdr(need(a, 2)[0], register_of(need(a, 1)))


def _enc_ct(e: Ct) -> _Encoded:
    return "ct", (register(1, e.reg), attr_be32(2, _CT[e.key]))


def _dec_ct(a: Mapping[int, bytes]) -> Expr:
    key: Any = name_of(_CT, wire.be32(need(a, 2)))
    return Ct(key, register_of(need(a, 1)))


def _enc_fib(e: Fib) -> _Encoded:
    flags = sum(_FIB_FLAGS[flag] for flag in set(e.flags))
    return "fib", (register(1, e.reg), attr_be32(2, _FIB_RESULT[e.result]), attr_be32(3, flags))


def _dec_fib(a: Mapping[int, bytes]) -> Expr:
    result: Any = name_of(_FIB_RESULT, wire.be32(need(a, 2)))
    flags = wire.be32(need(a, 3))
    if flags >= 32:
        raise WireError(f"fib flags {flags:#x}")
    names: Any = tuple(name for name, bit in _FIB_FLAGS.items() if flags & bit)
    return Fib(result, names, register_of(need(a, 1)))


def _enc_cmp(e: Cmp) -> _Encoded:
    return "cmp", (register(1, e.reg), attr_be32(2, _CMP[e.op]), constant(3, e.data))


def _dec_cmp(a: Mapping[int, bytes]) -> Expr:
    op: Any = name_of(_CMP, wire.be32(need(a, 2)))
    return Cmp(op, constant_of(need(a, 3)), register_of(need(a, 1)))


def _enc_range(e: Range) -> _Encoded:
    return "range", (register(1, e.reg), attr_be32(2, _RANGE[e.op]), constant(3, e.low), constant(4, e.high))


def _dec_range(a: Mapping[int, bytes]) -> Expr:
    op: Any = name_of(_RANGE, wire.be32(need(a, 2)))
    return Range(op, constant_of(need(a, 3)), constant_of(need(a, 4)), register_of(need(a, 1)))


def _enc_bitwise(e: Bitwise) -> _Encoded:
    if len(e.mask) != len(e.xor):
        raise WireError(f"mask of {len(e.mask)} and xor of {len(e.xor)} bytes")
    registers = (register(1, e.src), register(2, e.dst))
    return "bitwise", (*registers, attr_be32(3, len(e.mask)), constant(4, e.mask), constant(5, e.xor))


def _dec_bitwise(a: Mapping[int, bytes]) -> Expr:
    if wire.be32(a.get(6, b"\0\0\0\0")):
        raise WireError("bitwise operation other than mask and xor")
    return Bitwise(constant_of(need(a, 4)), constant_of(need(a, 5)), register_of(need(a, 1)), register_of(need(a, 2)))


def _enc_byteorder(e: Byteorder) -> _Encoded:
    registers = (register(1, e.src), register(2, e.dst))
    return "byteorder", (*registers, attr_be32(3, _BYTEORDER[e.op]), attr_be32(4, e.length), attr_be32(5, e.size))


def _dec_byteorder(a: Mapping[int, bytes]) -> Expr:
    op: Any = name_of(_BYTEORDER, wire.be32(need(a, 3)))
    lengths = wire.be32(need(a, 4)), wire.be32(need(a, 5))
    return Byteorder(op, *lengths, register_of(need(a, 1)), register_of(need(a, 2)))


def _enc_lookup(e: Lookup) -> _Encoded:
    data = [attr_str(1, e.set), register(2, e.reg)]
    if e.verdict:
        data.append(attr_be32(3, _REG_VERDICT))
    elif e.dst is not None:
        data.append(register(3, e.dst))
    if e.inverted:
        data.append(attr_be32(5, _LOOKUP_INVERTED))
    return "lookup", tuple(data)


def _dec_lookup(a: Mapping[int, bytes]) -> Expr:
    verdict = 3 in a and wire.be32(a[3]) == _REG_VERDICT
    dst = register_of(a[3]) if 3 in a and not verdict else None
    inverted = bool(flags_of(a, 5, _LOOKUP_INVERTED))
    return Lookup(wire.text(need(a, 1)), register_of(need(a, 2)), inverted=inverted, verdict=verdict, dst=dst)


ENCODERS: Final[Mapping[type, Any]] = {
    Verdict: _enc_verdict,
    Immediate: _enc_immediate,
    Meta: _enc_meta,
    MetaSet: _enc_meta_set,
    Payload: _enc_payload,
    PayloadSet: _enc_payload_set,
    Exthdr: _enc_exthdr,
    Ct: _enc_ct,
    Fib: _enc_fib,
    Cmp: _enc_cmp,
    Range: _enc_range,
    Bitwise: _enc_bitwise,
    Byteorder: _enc_byteorder,
    Lookup: _enc_lookup,
}
"""Expression to the kernel's name of it and its attributes."""

DECODERS: Final = {
    "immediate": _dec_immediate,
    "meta": _dec_meta,
    "payload": _dec_payload,
    "exthdr": _dec_exthdr,
    "ct": _dec_ct,
    "fib": _dec_fib,
    "cmp": _dec_cmp,
    "range": _dec_range,
    "bitwise": _dec_bitwise,
    "byteorder": _dec_byteorder,
    "lookup": _dec_lookup,
}
"""The kernel's name and the attributes to an expression."""
