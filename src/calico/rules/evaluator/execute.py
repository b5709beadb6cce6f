"""A machine with the kernel's registers that executes expressions over one packet, and changes it as they say."""

from __future__ import annotations

import sys
from collections.abc import Container
from typing import Literal, Protocol, TypeAlias

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
    Fib,
    Immediate,
    Limit,
    Lookup,
    Masquerade,
    Meta,
    MetaSet,
    Nat,
    Notrack,
    Payload,
    PayloadSet,
    Range,
    Verdict,
)
from calico.netlink.nftables.objects import Hook
from calico.netlink.nftables.set_codec import key_length
from calico.rules.evaluator.addresstype import address_type
from calico.rules.evaluator.headers import Headers
from calico.rules.evaluator.rewriting import Ports, address_of, set_bytes, set_end
from calico.rules.names import ifname_key
from calico.rules.table import TableState

__all__ = ["CT_DNAT", "CT_SNAT", "Machine", "Metadata"]

Result: TypeAlias = bool | Verdict

CT_SNAT, CT_DNAT = 16, 32
"""Bits of a connection's status (``linux/netfilter/nf_conntrack_common.h``)."""

_CT_STATES = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}
_NFPROTO = {4: 2, 6: 10}
_ETHERTYPE = {4: 0x0800, 6: 0x86DD}
_HOOKS_OF_NAT = {"dnat": ("prerouting", "output"), "snat": ("postrouting", "input")}


class Metadata(Protocol):
    """What is known of a packet besides its bytes."""

    @property
    def iifname(self) -> str: ...
    @property
    def oifname(self) -> str: ...
    @property
    def ct_state(self) -> str: ...
    @property
    def ct_status(self) -> int: ...
    @property
    def mark(self) -> int: ...
    @property
    def local_addresses(self) -> Container[bytes]: ...
    @property
    def out_address(self) -> bytes: ...
    @property
    def exceeded(self) -> Container[str]: ...


class Machine:
    """Registers, and the packet as the rules have left it. ``step`` executes one expression.

    ``data``, ``mark`` and ``ct_status`` are as they are now; ``untracked``: a rule left the packet out of connection
    tracking; ``translated``: one translated an end of its connection.
    """

    def __init__(self, state: TableState, place: Hook, data: bytes, headers: Headers, meta: Metadata) -> None:
        self._state = state
        self._place = place
        self._headers = headers
        self._meta = meta
        self._registers = bytearray(64)
        self.data = data
        self.mark = meta.mark
        self.ct_status = meta.ct_status
        self.untracked = False
        self.translated = False
        self.source_port = False
        """Whether the first bytes of a transport header, a source port, were looked at."""

    def step(self, expr: Expr) -> Result:
        """False when the rule does not match, a verdict when one is reached, else True.

        Raises InvalidInput for an expression that depends on more than is known of the packet (routes, interface
        numbers, other connection-tracking data), or that the kernel refuses in this base chain.
        """
        match expr:
            case Meta():
                return self._load(expr.reg, self._metadata(expr))
            case Payload():
                return self._load(expr.reg, self._payload(expr))
            case Exthdr():
                return self._load(expr.reg, bytes((expr.type in self._headers.extensions,)))
            case Ct(key="state"):
                return self._load(expr.reg, _host(_CT_STATES[self._ct_state()]))
            case Ct(key="status"):
                has_connection = self._ct_state() not in ("untracked", "invalid")
                return self._load(expr.reg, _host(self.ct_status) if has_connection else None)
            case Fib(result="type"):
                return self._load(expr.reg, self._address_type(expr))
            case Immediate():
                return self._load(expr.reg, expr.data)
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
            case PayloadSet():
                return self._change(expr)
            case Limit() | ConnLimit():
                unit = expr.unit if isinstance(expr, Limit) else "connections"
                return (unit in self._meta.exceeded) == expr.over
            case Notrack():
                self.untracked = self._meta.ct_state == "invalid"
                return True
            case Nat():
                return self._nat(expr)
            case Masquerade():
                return self._masquerade(expr)
            case Counter():
                return True
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
        value = self.data[start + expr.offset : start + expr.offset + expr.length]
        return value if len(value) == expr.length else None

    def _ct_state(self) -> str:
        return "untracked" if self.untracked else self._meta.ct_state

    def _address_type(self, expr: Fib) -> bytes | None:
        if expr.flags not in (("saddr",), ("daddr",)):
            raise InvalidInput(f"cannot evaluate {expr}")
        address = address_of(self.data, self._headers.version, "src" if expr.flags == ("saddr",) else "dst")
        return _host(address_type(address, self._meta.local_addresses)) if address else None

    def _change(self, expr: PayloadSet) -> bool:
        changed = set_bytes(self.data, expr.offset, self._read(expr.reg, expr.length), expr.checksum)
        if changed is None:
            return False
        self.data = changed
        return True

    def _nat(self, expr: Nat) -> Result:
        """Translation to another family's address does nothing (``nft_nat_inet_eval``, net/netfilter/nft_nat.c)."""
        if self._place.type != "nat" or self._place.hook not in _HOOKS_OF_NAT[expr.kind]:
            raise InvalidInput(f"the kernel refuses {expr} in a chain of {self._place}")
        if expr.version != self._headers.version:
            return True
        address = None if expr.address is None else self._read(expr.address, 4 if expr.version == 4 else 16)
        return self._translate(expr.kind, address, self._ports(expr))

    def _masquerade(self, expr: Masquerade) -> Result:
        """Without an address of the outgoing interface the packet is dropped (net/netfilter/nf_nat_masquerade.c)."""
        if self._place.type != "nat" or self._place.hook != "postrouting":
            raise InvalidInput(f"the kernel refuses {expr} in a chain of {self._place}")
        if len(self._meta.out_address) != (4 if self._headers.version == 4 else 16):
            return Verdict("drop")
        return self._translate("snat", self._meta.out_address, self._ports(expr))

    def _translate(self, kind: Literal["dnat", "snat"], address: bytes | None, ports: Ports | None) -> Verdict:
        """What changes nothing leaves no trace in the connection's status (``nf_nat_setup_info``)."""
        changed = set_end(self.data, self._headers, "dst" if kind == "dnat" else "src", address, ports)
        if changed != self.data:
            self.ct_status |= CT_DNAT if kind == "dnat" else CT_SNAT
        self.data, self.translated = changed, True
        return Verdict("accept")

    def _ports(self, expr: Nat | Masquerade) -> Ports | None:
        if expr.port_min is None:
            return None
        last = expr.port_min if expr.port_max is None else expr.port_max
        return int.from_bytes(self._read(expr.port_min, 2), "big"), int.from_bytes(self._read(last, 2), "big")

    def _swapped(self, expr: Byteorder) -> bytes:
        value = self._read(expr.src, expr.length)
        elements = (value[at : at + expr.size] for at in range(0, expr.length, expr.size))
        return b"".join(int.from_bytes(each, "big").to_bytes(expr.size, sys.byteorder) for each in elements)

    def _lookup(self, expr: Lookup) -> Result:
        decl = self._state.sets[expr.set]
        elements = self._state.elements(expr.set)
        key = self._read(expr.reg, key_length(decl.key))
        if expr.verdict:
            verdict = elements.get(key)
            return verdict if isinstance(verdict, Verdict) else False
        if expr.dst is not None:
            value = elements.get(key)
            return self._load(expr.dst, value if isinstance(value, bytes) else None)
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
