"""nf_tables expressions to netlink and back.

Encoding and decoding are memoised: a ruleset has few distinct expressions, and what remains of a rule is a join.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from calico.netlink import wire
from calico.netlink.nftables import uapi
from calico.netlink.nftables.expr import (
    Bitwise,
    Byteorder,
    Cmp,
    Counter,
    Ct,
    Expr,
    Exthdr,
    Fib,
    Limit,
    Log,
    Lookup,
    Meta,
    MetaSet,
    Payload,
    Range,
    Reject,
    Verdict,
)
from calico.netlink.wire import WireError, attr, attr_be32, attr_be64, attr_str, nested

__all__ = ["decode_exprs", "decode_verdict", "encode_expr", "encode_exprs", "encode_verdict"]

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
_REJECT: Final = {"tcp-reset": (1, None), "icmpx-port-unreachable": (2, 1), "icmpx-admin-prohibited": (2, 3)}
_LOOKUP_INVERTED: Final = 1
_EXTHDR_PRESENT: Final = 1
_LOG_LEVEL_DEFAULT: Final = 4
_REG_VERDICT: Final = 0

K = TypeVar("K")


@functools.lru_cache(maxsize=1 << 16)
def encode_expr(expr: Expr) -> bytes:
    """One list element of NFTA_RULE_EXPRESSIONS. WireError if a value does not fit."""
    try:
        name, data = _ENCODERS[type(expr)](expr)
    except KeyError as error:
        raise WireError(f"{expr}: {error} is not known") from error
    return nested(uapi.LIST_ELEM, attr_str(uapi.EXPR_NAME, name), nested(uapi.EXPR_DATA, *data))


def encode_exprs(exprs: Iterable[Expr]) -> bytes:
    """NFTA_RULE_EXPRESSIONS."""
    return nested(uapi.RULE_EXPRESSIONS, b"".join(map(encode_expr, exprs)))


def decode_exprs(payload: bytes) -> tuple[Expr, ...]:
    """The expressions in the payload of NFTA_RULE_EXPRESSIONS; WireError if one is not of ``expr.Expr``.

    Canonical: a log level that equals the kernel's default reads as none given.
    """
    return tuple(_decode_expr(element) for _, element in wire.iter_attrs(payload))


@functools.lru_cache(maxsize=1 << 16)
def encode_verdict(verdict: Verdict) -> bytes:
    """NFTA_DATA_VERDICT."""
    code = attr_be32(uapi.VERDICT_CODE, uapi.VERDICTS[verdict.kind] & 0xFFFFFFFF)
    chain = attr_str(uapi.VERDICT_CHAIN, verdict.chain) if verdict.kind in ("jump", "goto") else b""
    return nested(uapi.DATA_VERDICT, code, chain)


def decode_verdict(payload: bytes) -> Verdict:
    """The verdict in the payload of NFTA_DATA_VERDICT."""
    attrs = wire.parse_attrs(payload)
    code = wire.be32(_need(attrs, uapi.VERDICT_CODE))
    kind = _name_of(uapi.VERDICTS, code - (1 << 32) if code >> 31 else code)
    return Verdict(kind, wire.text(attrs.get(uapi.VERDICT_CHAIN, b"")))  # type: ignore[arg-type]


@functools.lru_cache(maxsize=1 << 16)
def _decode_expr(element: bytes) -> Expr:
    attrs = wire.parse_attrs(element)
    name = wire.text(_need(attrs, uapi.EXPR_NAME))
    decoder = _DECODERS.get(name)
    if decoder is None:
        raise WireError(f"expression {name!r} is not one of ours")
    return decoder(wire.parse_attrs(attrs.get(uapi.EXPR_DATA, b"")))


# -- registers and data ----------------------------------------------------------------------------------------------


def _reg(kind: int, reg: int) -> bytes:
    """Every fourth 4-byte register is also a 16-byte one, and the kernel tells it by that number."""
    if not 0 <= reg < 16:
        raise WireError(f"no register {reg}")
    return attr_be32(kind, 1 + reg // 4 if reg % 4 == 0 else 8 + reg)


def _reg_of(payload: bytes) -> int:
    number = wire.be32(payload)
    if 1 <= number <= 4:
        return (number - 1) * 4
    if 8 <= number < 24:
        return number - 8
    raise WireError(f"no data register {number}")


def _value(kind: int, data: bytes) -> bytes:
    return nested(kind, attr(uapi.DATA_VALUE, data))


def _value_of(payload: bytes) -> bytes:
    return _need(wire.parse_attrs(payload), uapi.DATA_VALUE)


def _need(attrs: Mapping[int, bytes], kind: int) -> bytes:
    try:
        return attrs[kind]
    except KeyError:
        raise WireError(f"attribute {kind} is missing") from None


def _name_of(numbers: Mapping[K, int], number: int) -> K:
    for name, value in numbers.items():
        if value == number:
            return name
    raise WireError(f"number {number} is not one of {list(numbers)}")


# -- one pair of functions per expression ----------------------------------------------------------------------------

_Encoded = tuple[str, tuple[bytes, ...]]


def _enc_verdict(e: Verdict) -> _Encoded:
    return "immediate", (attr_be32(1, _REG_VERDICT), nested(2, encode_verdict(e)))


def _dec_verdict(a: Mapping[int, bytes]) -> Expr:
    data = wire.parse_attrs(_need(a, 2))
    return decode_verdict(_need(data, uapi.DATA_VERDICT))


def _enc_meta(e: Meta) -> _Encoded:
    return "meta", (attr_be32(2, _META[e.key]), _reg(1, e.reg))


def _enc_meta_set(e: MetaSet) -> _Encoded:
    return "meta", (attr_be32(2, _META[e.key]), _reg(3, e.reg))


def _dec_meta(a: Mapping[int, bytes]) -> Expr:
    key: Any = _name_of(_META, wire.be32(_need(a, 2)))
    if 3 in a:
        return MetaSet(key, _reg_of(a[3]))
    return Meta(key, _reg_of(_need(a, 1)))


def _enc_payload(e: Payload) -> _Encoded:
    return "payload", (_reg(1, e.reg), attr_be32(2, _BASE[e.base]), attr_be32(3, e.offset), attr_be32(4, e.length))


def _dec_payload(a: Mapping[int, bytes]) -> Expr:
    base: Any = _name_of(_BASE, wire.be32(_need(a, 2)))
    return Payload(base, wire.be32(_need(a, 3)), wire.be32(_need(a, 4)), _reg_of(_need(a, 1)))


def _enc_exthdr(e: Exthdr) -> _Encoded:
    place = (attr(2, bytes((e.type,))), attr_be32(3, 0), attr_be32(4, 1), attr_be32(5, _EXTHDR_PRESENT))
    return "exthdr", (_reg(1, e.reg), *place)


def _dec_exthdr(a: Mapping[int, bytes]) -> Expr:
    if wire.be32(a.get(5, b"\0\0\0\0")) != _EXTHDR_PRESENT or wire.be32(a.get(6, b"\0\0\0\0")) != 0:
        raise WireError("extension header match other than for presence in IPv6")
    return Exthdr(_need(a, 2)[0], _reg_of(_need(a, 1)))


def _enc_ct(e: Ct) -> _Encoded:
    return "ct", (_reg(1, e.reg), attr_be32(2, _CT[e.key]))


def _dec_ct(a: Mapping[int, bytes]) -> Expr:
    key: Any = _name_of(_CT, wire.be32(_need(a, 2)))
    return Ct(key, _reg_of(_need(a, 1)))


def _enc_fib(e: Fib) -> _Encoded:
    flags = sum(_FIB_FLAGS[flag] for flag in set(e.flags))
    return "fib", (_reg(1, e.reg), attr_be32(2, _FIB_RESULT[e.result]), attr_be32(3, flags))


def _dec_fib(a: Mapping[int, bytes]) -> Expr:
    result: Any = _name_of(_FIB_RESULT, wire.be32(_need(a, 2)))
    flags = wire.be32(_need(a, 3))
    if flags >= 32:
        raise WireError(f"fib flags {flags:#x}")
    names: Any = tuple(name for name, bit in _FIB_FLAGS.items() if flags & bit)
    return Fib(result, names, _reg_of(_need(a, 1)))


def _enc_cmp(e: Cmp) -> _Encoded:
    return "cmp", (_reg(1, e.reg), attr_be32(2, _CMP[e.op]), _value(3, e.data))


def _dec_cmp(a: Mapping[int, bytes]) -> Expr:
    op: Any = _name_of(_CMP, wire.be32(_need(a, 2)))
    return Cmp(op, _value_of(_need(a, 3)), _reg_of(_need(a, 1)))


def _enc_range(e: Range) -> _Encoded:
    return "range", (_reg(1, e.reg), attr_be32(2, _RANGE[e.op]), _value(3, e.low), _value(4, e.high))


def _dec_range(a: Mapping[int, bytes]) -> Expr:
    op: Any = _name_of(_RANGE, wire.be32(_need(a, 2)))
    return Range(op, _value_of(_need(a, 3)), _value_of(_need(a, 4)), _reg_of(_need(a, 1)))


def _enc_bitwise(e: Bitwise) -> _Encoded:
    if len(e.mask) != len(e.xor):
        raise WireError(f"mask of {len(e.mask)} and xor of {len(e.xor)} bytes")
    registers = (_reg(1, e.src), _reg(2, e.dst))
    return "bitwise", (*registers, attr_be32(3, len(e.mask)), _value(4, e.mask), _value(5, e.xor))


def _dec_bitwise(a: Mapping[int, bytes]) -> Expr:
    if wire.be32(a.get(6, b"\0\0\0\0")):
        raise WireError("bitwise operation other than mask and xor")
    return Bitwise(_value_of(_need(a, 4)), _value_of(_need(a, 5)), _reg_of(_need(a, 1)), _reg_of(_need(a, 2)))


def _enc_byteorder(e: Byteorder) -> _Encoded:
    registers = (_reg(1, e.src), _reg(2, e.dst))
    return "byteorder", (*registers, attr_be32(3, _BYTEORDER[e.op]), attr_be32(4, e.length), attr_be32(5, e.size))


def _dec_byteorder(a: Mapping[int, bytes]) -> Expr:
    op: Any = _name_of(_BYTEORDER, wire.be32(_need(a, 3)))
    lengths = wire.be32(_need(a, 4)), wire.be32(_need(a, 5))
    return Byteorder(op, *lengths, _reg_of(_need(a, 1)), _reg_of(_need(a, 2)))


def _enc_lookup(e: Lookup) -> _Encoded:
    data = [attr_str(1, e.set), _reg(2, e.reg)]
    if e.verdict:
        data.append(attr_be32(3, _REG_VERDICT))
    if e.inverted:
        data.append(attr_be32(5, _LOOKUP_INVERTED))
    return "lookup", tuple(data)


def _dec_lookup(a: Mapping[int, bytes]) -> Expr:
    if 3 in a and wire.be32(a[3]) != _REG_VERDICT:
        raise WireError("lookup of a value that is not a verdict")
    inverted = bool(wire.be32(a.get(5, b"\0\0\0\0")) & _LOOKUP_INVERTED)
    return Lookup(wire.text(_need(a, 1)), _reg_of(_need(a, 2)), inverted=inverted, verdict=3 in a)


def _enc_log(e: Log) -> _Encoded:
    data = [attr_str(2, e.prefix)] if e.prefix else []
    if e.group is not None:
        data.append(wire.attr_be16(1, e.group))
    elif e.level is not None:
        data.append(attr_be32(5, e.level))
    return "log", tuple(data)


def _dec_log(a: Mapping[int, bytes]) -> Expr:
    group = wire.be16(a[1]) if 1 in a else None
    level = wire.be32(a[5]) if 5 in a else None
    return Log(wire.text(a.get(2, b"")), group, None if level == _LOG_LEVEL_DEFAULT else level)


def _enc_limit(e: Limit) -> _Encoded:
    return "limit", (attr_be64(1, e.rate), attr_be64(2, e.unit_s), attr_be32(3, e.burst), attr_be32(4, 0))


def _dec_limit(a: Mapping[int, bytes]) -> Expr:
    if wire.be32(a.get(4, b"\0\0\0\0")) or wire.be32(a.get(5, b"\0\0\0\0")):
        raise WireError("limit by bytes, or inverted")
    return Limit(wire.be64(_need(a, 1)), wire.be64(_need(a, 2)), wire.be32(_need(a, 3)))


def _enc_counter(e: Counter) -> _Encoded:
    return "counter", ()


def _dec_counter(a: Mapping[int, bytes]) -> Expr:
    return Counter()


def _enc_reject(e: Reject) -> _Encoded:
    kind, code = _REJECT[e.kind]
    return "reject", (attr_be32(1, kind), b"" if code is None else wire.attr(2, bytes((code,))))


def _dec_reject(a: Mapping[int, bytes]) -> Expr:
    number = wire.be32(_need(a, 1))
    code = a[2][0] if a.get(2) else None
    for name, (kind, wanted) in _REJECT.items():
        if kind == number and wanted in (code, None):
            answer: Any = name
            return Reject(answer)
    raise WireError(f"reject type {number} code {code}")


_ENCODERS: Final[Mapping[type, Callable[[Any], _Encoded]]] = {
    Verdict: _enc_verdict,
    Meta: _enc_meta,
    MetaSet: _enc_meta_set,
    Payload: _enc_payload,
    Exthdr: _enc_exthdr,
    Ct: _enc_ct,
    Fib: _enc_fib,
    Cmp: _enc_cmp,
    Range: _enc_range,
    Bitwise: _enc_bitwise,
    Byteorder: _enc_byteorder,
    Lookup: _enc_lookup,
    Log: _enc_log,
    Limit: _enc_limit,
    Counter: _enc_counter,
    Reject: _enc_reject,
}
_DECODERS: Final[Mapping[str, Callable[[Mapping[int, bytes]], Expr]]] = {
    "immediate": _dec_verdict,
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
    "log": _dec_log,
    "limit": _dec_limit,
    "counter": _dec_counter,
    "reject": _dec_reject,
}
