"""The moments of a command between which the process may die, told to whoever wants to be there.

Nobody does in production. Tests end the process at each: what a moment leaves behind must be cleaned up by the DEL that
runtimes send, or by the next ADD.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeAlias, get_args

__all__ = ["STEPS", "OnStep", "Step", "unwatched"]

Step: TypeAlias = Literal[
    "recorded",
    "profiled",
    "allocated",
    "paired",
    "wired",
    "endpoint written",
    "programmed",
    "endpoint deleted",
    "unwired",
    "released",
    "forgotten",
]
"""Of ADD, in this order: *recorded*: the host remembers that it tries; *profiled*: the network's profile exists;
*allocated*: it has addresses; *paired*: the veth exists, unaddressed; *wired*: the container's side is done; *endpoint
written*; *programmed*: Felix says so, the answer is not given. Of DEL: *endpoint deleted*, *unwired*: the veth is gone,
*released*: so are the addresses; *forgotten*: and the record."""

STEPS: Final[tuple[Step, ...]] = get_args(Step)

OnStep: TypeAlias = Callable[[Step], None]


def unwatched(step: Step) -> None:
    """Nobody is there."""
