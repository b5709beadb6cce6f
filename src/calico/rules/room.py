"""How large a hash set is declared: always larger than it must be, so that it is re-created before it is full.

A hash without a declared size lists wrongly while it grows, and one whose size is reached refuses elements, which
would fail a whole transaction.
"""

from __future__ import annotations

import msgspec

from calico.rules.table import TableState

__all__ = ["MIN_SIZE", "make_room", "size_for"]

MIN_SIZE = 64


def size_for(count: int, least: int = MIN_SIZE) -> int:
    """The size to declare for ``count`` elements: a power of two at least twice as large."""
    return max(least, 2 << (count - 1).bit_length())


def make_room(state: TableState, set_name: str) -> None:
    """Declare a hash set larger when more than three quarters of it will be taken. Cost O(1)."""
    decl = state.sets[set_name]
    needed = state.room_needed(set_name)
    if decl.size and needed * 4 > decl.size * 3:
        state.want_set(msgspec.structs.replace(decl, size=size_for(needed)))
