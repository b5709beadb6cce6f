"""Which sets a policy's rules need whole: without a member they would allow more."""

from __future__ import annotations

from collections.abc import Iterable

from calico.netlink.nftables.expr import Log, Lookup, Rule
from calico.rules.loads import ACCEPT

__all__ = ["needed_sets"]


def needed_sets(rules: Iterable[Rule]) -> frozenset[str]:
    """Sets that a rule denies or passes by, or allows all others by; not those whose members alone are allowed."""
    needed: set[str] = set()
    for rule in rules:
        if isinstance(rule.exprs[-1], Log):
            continue
        allows = rule.exprs[-1] == ACCEPT
        needed.update(e.set for e in rule.exprs if isinstance(e, Lookup) and (e.inverted or not allows))
    return frozenset(needed)
