"""Which layout of the table this version writes, told in the table itself.

Another version may mean something else by a chain, set or mark of the same name. So a table is taken over and compared
only if it says this number; any other is replaced as a whole, in one transaction (``calico.dataplane.nft.table``).
"""

from __future__ import annotations

from typing import Final

from calico.netlink.nftables.expr import Rule, Verdict
from calico.netlink.nftables.objects import Chain

__all__ = ["LAYOUT", "LAYOUT_CHAIN", "layout_chain"]

LAYOUT: Final = 1
"""Raise it when an object of an older table would be understood wrongly: when marks, the keys of sets, or the way of a
packet through base chains change their meaning. What merely comes, goes or has other rules needs no new number."""

LAYOUT_CHAIN: Final = "layout"


def layout_chain(number: int = LAYOUT) -> Chain:
    """The chain that says the number; nothing leads to it."""
    return Chain(LAYOUT_CHAIN, (Rule((Verdict("return"),), f"layout {number} of Calico's table"),))
