"""nf_tables tables, chains and sets as values."""

from __future__ import annotations

from typing import Literal

import msgspec

from calico.netlink.nftables.expr import Rule, Verdict

__all__ = ["VERDICT_VALUE", "Chain", "ElementValue", "Hook", "KeyField", "SetDecl", "Table"]

KeyField = Literal[
    "ifname", "ipv4_addr", "ipv6_addr", "inet_proto", "inet_service", "icmp_type", "icmpv6_type", "mark", "ether_addr"
]

ElementValue = Verdict | bytes | None
"""What an element of a map holds: a verdict, or the bytes of the declared field (padded to a multiple of 4)."""

VERDICT_VALUE: Literal["verdict"] = "verdict"


class Table(msgspec.Struct, frozen=True, gc=False):
    """A table of family ``inet``; ours is owned (only our socket may change it) and persists without us."""

    name: str
    family: Literal["inet", "ip", "ip6", "netdev"] = "inet"
    owned: bool = True


class Hook(msgspec.Struct, frozen=True, gc=False):
    """Where a base chain sits, its priority and what happens to packets that reach its end."""

    hook: Literal["prerouting", "input", "forward", "output", "postrouting"]
    priority: int
    policy: Literal["accept", "drop"] = "accept"
    type: Literal["filter", "nat", "route"] = "filter"


class Chain(msgspec.Struct, frozen=True, gc=False):
    """A chain with all its rules; ``hook`` makes it a base chain."""

    name: str
    rules: tuple[Rule, ...] = ()
    hook: Hook | None = None


class SetDecl(msgspec.Struct, frozen=True, gc=False):
    """A set, or a map: ``value`` verdict (a verdict map), or the field that its elements hold.

    ``key`` are its concatenated fields; each field of an element key is padded to a multiple of 4 bytes.
    ``interval``: elements are CIDRs, given as packed nets (``calico.lib.packed``) that never overlap; otherwise
    element keys are the raw key bytes. ``size`` is the declared maximum of a hash (0: none declared).
    """

    name: str
    key: tuple[KeyField, ...]
    value: Literal["verdict"] | KeyField | None = None
    interval: bool = False
    size: int = 0
