"""Expressions that act on a packet or a connection, or depend on how many there were, to netlink and back.

Numbers are from ``linux/netfilter/nf_tables.h`` and ``nf_nat.h``. There is one pair of functions for each name that
the kernel has. Decoding is canonical: what the kernel fills in by itself reads as not given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from calico.netlink import wire
from calico.netlink.nftables import uapi
from calico.netlink.nftables.data_codec import flags_of, name_of, need, register, register_of
from calico.netlink.nftables.expr import (
    ConnLimit,
    Counter,
    CountIn,
    Expr,
    Limit,
    Log,
    Masquerade,
    Nat,
    Notrack,
    Reject,
)
from calico.netlink.wire import WireError, attr_be32, attr_be64, attr_str

__all__ = ["DECODERS", "ENCODERS"]

_REJECT: Final = {"tcp-reset": (1, None), "icmpx-port-unreachable": (2, 1), "icmpx-admin-prohibited": (2, 3)}
_LOG_LEVEL_DEFAULT: Final = 4
_LIMIT_UNITS: Final = {"packets": 0, "bytes": 1}
_LIMIT_OVER: Final = 1
_LIMIT_BURST_DEFAULT: Final = 5
"""What the kernel makes of a burst of 0 packets."""

_CONNLIMIT_OVER: Final = 1
_NAT_KINDS: Final = {"snat": 0, "dnat": 1}
_NAT_FAMILIES: Final = {4: uapi.FAMILY["ip"], 6: uapi.FAMILY["ip6"]}
_NAT_ADDRESS: Final = 1
_NAT_PORTS: Final = 2
_NAT_RANDOM_FULLY: Final = 16

_Encoded = tuple[str, tuple[bytes, ...]]


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
    rate = (attr_be64(1, e.rate), attr_be64(2, e.unit_s), attr_be32(3, e.burst))
    return "limit", (*rate, attr_be32(4, _LIMIT_UNITS[e.unit]), attr_be32(5, _LIMIT_OVER if e.over else 0))


def _dec_limit(a: Mapping[int, bytes]) -> Expr:
    unit: Any = name_of(_LIMIT_UNITS, wire.be32(a.get(4, b"\0\0\0\0")))
    burst = wire.be32(a.get(3, b"\0\0\0\0"))
    if not burst and unit == "packets":
        burst = _LIMIT_BURST_DEFAULT
    return Limit(wire.be64(need(a, 1)), wire.be64(need(a, 2)), burst, unit, over=bool(flags_of(a, 5, _LIMIT_OVER)))


def _enc_connlimit(e: ConnLimit) -> _Encoded:
    return "connlimit", (attr_be32(1, e.count), attr_be32(2, _CONNLIMIT_OVER if e.over else 0))


def _dec_connlimit(a: Mapping[int, bytes]) -> Expr:
    return ConnLimit(wire.be32(need(a, 1)), over=bool(flags_of(a, 2, _CONNLIMIT_OVER)))


def _enc_notrack(e: Notrack) -> _Encoded:
    return "notrack", ()


def _dec_notrack(a: Mapping[int, bytes]) -> Expr:
    return Notrack()


def _enc_nat(e: Nat) -> _Encoded:
    data = [attr_be32(1, _NAT_KINDS[e.kind]), attr_be32(2, _NAT_FAMILIES[e.version])]
    if e.address is not None:
        data.append(register(3, e.address))
    address = 0 if e.address is None else _NAT_ADDRESS
    return "nat", (*data, *_enc_ports(5, e), attr_be32(7, address | _nat_flags(e)))


def _dec_nat(a: Mapping[int, bytes]) -> Expr:
    flags_of(a, 7, _NAT_ADDRESS | _NAT_PORTS | _NAT_RANDOM_FULLY)
    kind: Any = name_of(_NAT_KINDS, wire.be32(need(a, 1)))
    version: Any = name_of(_NAT_FAMILIES, wire.be32(need(a, 2)))
    if a.get(4, a.get(3)) != a.get(3):
        raise WireError("translation to a range of addresses")
    address = register_of(a[3]) if 3 in a else None
    return Nat(kind, version, address, *_dec_ports(5, a), random_fully=_is_random(a, 7))


def _enc_masquerade(e: Masquerade) -> _Encoded:
    return "masq", (attr_be32(1, _nat_flags(e)), *_enc_ports(2, e))


def _dec_masquerade(a: Mapping[int, bytes]) -> Expr:
    flags_of(a, 1, _NAT_PORTS | _NAT_RANDOM_FULLY)
    return Masquerade(*_dec_ports(2, a), random_fully=_is_random(a, 1))


def _enc_ports(kind: int, e: Nat | Masquerade) -> tuple[bytes, ...]:
    """The registers of a range of ports, the first in attribute ``kind``."""
    if e.port_min is None:
        if e.port_max is not None:
            raise WireError("a last port without a first")
        return ()
    return register(kind, e.port_min), b"" if e.port_max is None else register(kind + 1, e.port_max)


def _dec_ports(kind: int, a: Mapping[int, bytes]) -> tuple[int | None, int | None]:
    """The kernel tells a single port as a range of itself."""
    first = register_of(a[kind]) if kind in a else None
    last = register_of(a[kind + 1]) if kind + 1 in a else None
    return first, None if last == first else last


def _nat_flags(e: Nat | Masquerade) -> int:
    return (0 if e.port_min is None else _NAT_PORTS) | (_NAT_RANDOM_FULLY if e.random_fully else 0)


def _is_random(a: Mapping[int, bytes], kind: int) -> bool:
    return bool(wire.be32(a.get(kind, b"\0\0\0\0")) & _NAT_RANDOM_FULLY)


def _enc_counter(e: Counter) -> _Encoded:
    return "counter", ()


def _dec_counter(a: Mapping[int, bytes]) -> Expr:
    return Counter()


def _enc_objref(e: CountIn) -> _Encoded:
    return "objref", (attr_be32(1, uapi.OBJECT_COUNTER), attr_str(2, e.counter))


def _dec_objref(a: Mapping[int, bytes]) -> Expr:
    if wire.be32(need(a, 1)) != uapi.OBJECT_COUNTER:
        raise WireError("an object that is no counter")
    return CountIn(wire.text(need(a, 2)))


def _enc_reject(e: Reject) -> _Encoded:
    kind, code = _REJECT[e.kind]
    return "reject", (attr_be32(1, kind), b"" if code is None else wire.attr(2, bytes((code,))))


def _dec_reject(a: Mapping[int, bytes]) -> Expr:
    number = wire.be32(need(a, 1))
    code = a[2][0] if a.get(2) else None
    for name, (kind, wanted) in _REJECT.items():
        if kind == number and wanted in (code, None):
            answer: Any = name
            return Reject(answer)
    raise WireError(f"reject type {number} code {code}")


ENCODERS: Final[Mapping[type, Any]] = {
    Log: _enc_log,
    Limit: _enc_limit,
    ConnLimit: _enc_connlimit,
    Notrack: _enc_notrack,
    Nat: _enc_nat,
    Masquerade: _enc_masquerade,
    Counter: _enc_counter,
    CountIn: _enc_objref,
    Reject: _enc_reject,
}
"""Expression to the kernel's name of it and its attributes."""

DECODERS: Final = {
    "log": _dec_log,
    "limit": _dec_limit,
    "connlimit": _dec_connlimit,
    "notrack": _dec_notrack,
    "nat": _dec_nat,
    "masq": _dec_masquerade,
    "counter": _dec_counter,
    "objref": _dec_objref,
    "reject": _dec_reject,
}
"""The kernel's name and the attributes to an expression."""
