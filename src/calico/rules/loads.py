"""The small sequences of expressions that rules are made of: load a field, compare it.

They are what ``nft`` itself would generate, so that it lists our rules in its own words.
"""

from __future__ import annotations

import sys
from typing import Literal, TypeAlias

from calico.lib.packed import is_v6
from calico.netlink.nftables.expr import Bitwise, Cmp, Ct, Expr, Fib, Lookup, Meta, MetaSet, Payload, Verdict
from calico.rules.names import ifname_key

__all__ = [
    "ACCEPT",
    "DROP",
    "ESTABLISHED_OR_RELATED",
    "FIRST_PACKET",
    "FROM_HERE",
    "HOST_SERVICE_TYPES",
    "ICMP",
    "ICMPV6",
    "INVALID",
    "IPIP",
    "RETURN",
    "SCTP",
    "TCP",
    "TRANSLATED",
    "UDP",
    "Exprs",
    "Side",
    "address",
    "family",
    "header",
    "icmp_number",
    "in_set",
    "interface",
    "interface_is",
    "mark_clear",
    "mark_is_set",
    "mark_set",
    "mark_unset",
    "net_is",
    "port",
    "protocol",
]

Exprs: TypeAlias = tuple[Expr, ...]
Side: TypeAlias = Literal["src", "dst"]

ICMP, IPIP, TCP, UDP, ICMPV6, SCTP = 1, 4, 6, 17, 58, 132
HOST_SERVICE_TYPES = (130, 131, 132, 133, 135, 136)
"""ICMPv6 types that a workload may always send its host: MLD, router and neighbour solicitation, advertisement."""

ACCEPT, DROP, RETURN = Verdict("accept"), Verdict("drop"), Verdict("return")

_NFPROTO = {4: 2, 6: 10}


def icmp_number(version: int) -> int:
    """The protocol number of ICMP in an IP version."""
    return ICMP if version == 4 else ICMPV6


def family(version: int) -> Exprs:
    """The packet is of this IP version."""
    return (Meta("nfproto"), Cmp("eq", bytes((_NFPROTO[version],))))


def protocol(number: int, op: Literal["eq", "neq"] = "eq") -> Exprs:
    """The innermost protocol is (or is not) ``number``; never matches where the kernel cannot tell it."""
    return (Meta("l4proto"), Cmp(op, bytes((number,))))


def header(offset: int, value: bytes, op: Literal["eq", "neq"] = "eq") -> Exprs:
    """Bytes of the transport header; never matches a fragment without one."""
    return (Payload("transport", offset, len(value)), Cmp(op, value))


def port(side: Side, reg: int = 0) -> Payload:
    """Load a port of the transport header."""
    return Payload("transport", 0 if side == "src" else 2, 2, reg)


def address(side: Side, v6: bool, reg: int = 0) -> Payload:
    """Load an address of the network header."""
    if v6:
        return Payload("network", 8 if side == "src" else 24, 16, reg)
    return Payload("network", 12 if side == "src" else 16, 4, reg)


def net_is(side: Side, net: bytes, op: Literal["eq", "neq"] = "eq") -> Exprs:
    """An address is within (or outside) a packed net whose prefix is not empty; the family is already known."""
    length = net[-1]
    load = address(side, is_v6(net))
    if length % 8 == 0:
        return (Payload(load.base, load.offset, length // 8), Cmp(op, net[: length // 8]))
    bits = (len(net) - 1) * 8
    mask = ((1 << length) - 1 << bits - length).to_bytes(len(net) - 1, "big")
    return (load, Bitwise(mask, bytes(len(mask))), Cmp(op, net[:-1]))


def in_set(name: str, *loads: Expr, inverted: bool = False) -> Exprs:
    """What is loaded from register 0 on is (or is not) in a set."""
    return (*loads, Lookup(name, inverted=inverted))


def interface(key: Literal["iifname", "oifname"], prefix: str, op: Literal["eq", "neq"] = "eq") -> Exprs:
    """The interface's name begins with ``prefix`` (or not)."""
    return (Meta(key), Cmp(op, prefix.encode()))


def interface_is(key: Literal["iifname", "oifname"], name: str) -> Exprs:
    """The interface has exactly this name; the empty one means that there is none."""
    return (Meta(key), Cmp("eq", ifname_key(name)))


def _state(mask: int) -> Exprs:
    return (Ct("state"), Bitwise(_host(mask), bytes(4)), Cmp("neq", bytes(4)))


def _host(value: int) -> bytes:
    return value.to_bytes(4, sys.byteorder)


INVALID = _state(1)
ESTABLISHED_OR_RELATED = _state(2 | 4)
TRANSLATED: Exprs = (Ct("status"), Bitwise(_host(32), bytes(4)), Cmp("neq", bytes(4)))
"""The connection's destination was translated."""
FROM_HERE: Exprs = (Fib("type", ("saddr",)), Cmp("eq", _host(2)))
"""The source is an address of this host (RTN_LOCAL)."""
FIRST_PACKET: Exprs = (Ct("status"), Bitwise(_host(8), bytes(4)), Cmp("eq", bytes(4)))
"""Of a connection that conntrack has not confirmed: no packet of it has passed all packet filters yet."""


def mark_set(bit: int) -> Exprs:
    """Set one bit of the mark."""
    return (Meta("mark"), Bitwise(_host(bit ^ 0xFFFFFFFF), _host(bit)), MetaSet("mark"))


def mark_clear(bit: int) -> Exprs:
    """Clear one bit of the mark."""
    return (Meta("mark"), Bitwise(_host(bit ^ 0xFFFFFFFF), bytes(4)), MetaSet("mark"))


def mark_unset(bit: int) -> Exprs:
    """That bit of the mark is not set."""
    return (Meta("mark"), Bitwise(_host(bit), bytes(4)), Cmp("eq", bytes(4)))


def mark_is_set(bit: int) -> Exprs:
    """That bit of the mark is set."""
    return (Meta("mark"), Bitwise(_host(bit), bytes(4)), Cmp("neq", bytes(4)))
