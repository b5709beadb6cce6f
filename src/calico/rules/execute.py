"""A machine with the kernel's registers that executes matching expressions over one packet."""

from __future__ import annotations

import sys
from typing import Protocol, TypeAlias

from calico.errors import InvalidInput
from calico.netlink.nftables.expr import (
    Bitwise,
    Byteorder,
    Cmp,
    ConnLimit,
    Counter,
    Ct,
    Expr,
    Exthdr,
    Limit,
    Lookup,
    Meta,
    MetaSet,
    Payload,
    Range,
    Verdict,
)
from calico.netlink.nftables.objects import KeyField
from calico.rules.headers import Headers
from calico.rules.names import ifname_key
from calico.rules.table import TableState

__all__ = ["Machine", "Metadata"]

Result: TypeAlias = bool | Verdict
_CT_STATES = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}
_NFPROTO = {4: 2, 6: 10}
_ETHERTYPE = {4: 0x0800, 6: 0x86DD}
_FIELD_SIZE: dict[KeyField, int] = {"ifname": 16, "ipv6_addr": 16, "ether_addr": 8}


class Metadata(Protocol):
    """What is known of a packet besides its bytes."""

    @property
    def iifname(self) -> str: ...
    @property
    def oifname(self) -> str: ...
    @property
    def ct_state(self) -> str: ...
    @property
    def mark(self) -> int: ...


class Machine:
    """Registers, mark and packet. ``step`` executes one expression and says whether the rule goes on."""

    def __init__(self, state: TableState, data: bytes, headers: Headers, meta: Metadata) -> None:
        self._state = state
        self._data = data
        self._headers = headers
        self._meta = meta
        self._registers = bytearray(64)
        self.mark = meta.mark
        self.source_port = False
        """Whether the first bytes of a transport header, a source port, were looked at."""

    def step(self, expr: Expr) -> Result:
        """False when the rule does not match, a verdict when a verdict map has one, else True.

        Nothing exceeds a limit here. Raises InvalidInput for an expression that depends on more than the packet and
        the table (routes, interface numbers, other connection-tracking data).
        """
        match expr:
            case Meta():
                return self._load(expr.reg, self._metadata(expr))
            case Payload():
                return self._load(expr.reg, self._payload(expr))
            case Exthdr():
                return self._load(expr.reg, bytes((expr.type in self._headers.extensions,)))
            case Ct(key="state"):
                return self._load(expr.reg, _host(_CT_STATES[self._meta.ct_state]))
            case Cmp():
                return _compare(expr.op, self._read(expr.reg, len(expr.data)), expr.data)
            case Range():
                inside = expr.low <= self._read(expr.reg, len(expr.low)) <= expr.high
                return inside == (expr.op == "eq")
            case Bitwise():
                value = self._read(expr.src, len(expr.mask))
                return self._load(
                    expr.dst, bytes(v & m ^ x for v, m, x in zip(value, expr.mask, expr.xor, strict=True))
                )
            case Byteorder():
                return self._load(expr.dst, self._swapped(expr))
            case MetaSet():
                self.mark = int.from_bytes(self._read(expr.reg, 4), sys.byteorder)
                return True
            case Lookup():
                return self._lookup(expr)
            case Counter():
                return True
            case Limit() | ConnLimit():
                return not expr.over
            case _:
                raise InvalidInput(f"cannot evaluate {expr}")

    def _read(self, reg: int, length: int) -> bytes:
        return bytes(self._registers[reg * 4 : reg * 4 + length])

    def _load(self, reg: int, value: bytes | None) -> bool:
        """Store a value, its last register zero padded; False when there is none."""
        if value is None:
            return False
        padded = value.ljust((len(value) + 3) & ~3, b"\0")
        self._registers[reg * 4 : reg * 4 + len(padded)] = padded
        return True

    def _metadata(self, expr: Meta) -> bytes | None:
        match expr.key:
            case "iifname":
                return ifname_key(self._meta.iifname)
            case "oifname":
                return ifname_key(self._meta.oifname)
            case "l4proto":
                return None if self._headers.protocol is None else bytes((self._headers.protocol,))
            case "nfproto":
                return bytes((_NFPROTO.get(self._headers.version, 0),))
            case "protocol":
                return _ETHERTYPE.get(self._headers.version, 0).to_bytes(2, "big")
            case "mark":
                return _host(self.mark)
            case _:
                raise InvalidInput(f"cannot evaluate {expr}")

    def _payload(self, expr: Payload) -> bytes | None:
        start = 0 if expr.base == "network" else self._headers.transport
        if start is None or expr.base == "link":
            return None
        self.source_port = self.source_port or (expr.base == "transport" and expr.offset < 2)
        value = self._data[start + expr.offset : start + expr.offset + expr.length]
        return value if len(value) == expr.length else None

    def _swapped(self, expr: Byteorder) -> bytes:
        value = self._read(expr.src, expr.length)
        if sys.byteorder == "big":
            return value
        return b"".join(value[at : at + expr.size][::-1] for at in range(0, expr.length, expr.size))

    def _lookup(self, expr: Lookup) -> Result:
        decl = self._state.sets[expr.set]
        elements = self._state.elements(expr.set)
        key = self._read(expr.reg, sum(_FIELD_SIZE.get(field, 4) for field in decl.key))
        if expr.verdict:
            verdict = elements.get(key)
            return verdict if isinstance(verdict, Verdict) else False
        found = any(net in elements for net in _nets_around(key)) if decl.interval else key in elements
        return found != expr.inverted


def _host(value: int) -> bytes:
    return value.to_bytes(4, sys.byteorder)


def _compare(op: str, value: bytes, data: bytes) -> bool:
    return {
        "eq": value == data,
        "neq": value != data,
        "lt": value < data,
        "lte": value <= data,
        "gt": value > data,
        "gte": value >= data,
    }[op]


def _nets_around(address: bytes) -> list[bytes]:
    """Every packed net that contains an address."""
    bits, value = len(address) * 8, int.from_bytes(address, "big")
    return [
        (value >> bits - length << bits - length).to_bytes(len(address), "big") + bytes((length,))
        for length in range(bits + 1)
    ]
