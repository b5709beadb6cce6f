"""The moments of an apply between which the host changes, told to whoever wants to be there.

Nobody does in production. Tests end the process at each of them: whatever a moment leaves in the kernel must be safe
to stay like that for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeAlias, get_args

__all__ = ["STEPS", "OnStep", "Step", "unwatched"]

Step: TypeAlias = Literal[
    "calculated",
    "told",
    "filters",
    "withdrawn",
    "flows",
    "laid",
    "sysctls",
    "qdiscs",
    "gateways",
    "neighbours",
    "routes",
    "done",
]
"""*calculated*: what changed is known; *told*: the tables know what to write; *filters*: packet filters are in force;
*withdrawn*, *flows*: routes of addresses that leave, and their flows, are gone; *laid*: the tables know what is new;
then what is in force by its name; *done*: all is, and no status says so yet."""

STEPS: Final[tuple[Step, ...]] = get_args(Step)

OnStep: TypeAlias = Callable[[Step], None]


def unwatched(step: Step) -> None:
    """Nobody is there."""
