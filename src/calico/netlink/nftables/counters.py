"""What counters of rules have counted. It is no part of a rule's value (``expr.Counter``)."""

from __future__ import annotations

from typing import Final

from calico.netlink import wire
from calico.netlink.nftables import uapi
from calico.netlink.wire import WireError

__all__ = ["packets_counted"]

_PACKETS: Final = 2
"""NFTA_COUNTER_PACKETS."""


def packets_counted(exprs: bytes) -> int:
    """Packets that the first counter in the payload of NFTA_RULE_EXPRESSIONS has seen; WireError without a counter."""
    for _, element in wire.iter_attrs(exprs):
        attrs = wire.parse_attrs(element)
        if wire.text(attrs.get(uapi.EXPR_NAME, b"")) == "counter":
            return wire.be64(wire.parse_attrs(attrs.get(uapi.EXPR_DATA, b"")).get(_PACKETS, bytes(8)))
    raise WireError("a rule has no counter")
