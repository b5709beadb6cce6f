"""What somebody else changed of ours: how the tables of the dataplane say so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeAlias, get_args

import msgspec

__all__ = ["KINDS", "Drift", "Kind", "OnDrift", "at_once"]

Kind: TypeAlias = Literal["ruleset", "routes", "neighbours", "sysctls", "gateways", "qdiscs", "tunnels"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


class Drift(msgspec.Struct, frozen=True):
    """One thing of ours that is not as we left it: its kind, its name, what happened to it, and the netlink port of
    who did it (usually their process id; 0: not known)."""

    kind: Kind
    name: str
    what: str
    port: int = 0


OnDrift: TypeAlias = Callable[[Drift, Callable[[], None]], None]
"""Told what was noticed and how to have it put right by the next apply: called at once, or later when it is a fight."""


def at_once(_drift: Drift, repair: Callable[[], None]) -> None:
    """Put everything right at once."""
    repair()
