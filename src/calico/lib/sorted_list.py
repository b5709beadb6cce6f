"""A sorted list of distinct values in blocks, so that inserting costs a small memory move however long it is."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable

__all__ = ["SortedList"]

BLOCK = 512


class SortedList:
    """Always true: blocks are sorted, non-empty, at most twice ``block`` long; ``_firsts`` holds their first values."""

    __slots__ = ("_block", "_blocks", "_firsts")

    def __init__(self, values: Iterable[bytes] = (), *, block: int = BLOCK) -> None:
        ordered = sorted(set(values))
        self._block = block
        self._blocks = [ordered[start : start + block] for start in range(0, len(ordered), block)]
        self._firsts = [block[0] for block in self._blocks]

    def add(self, value: bytes) -> None:
        """Put in ``value``, which must be absent."""
        if not self._blocks:
            self._blocks, self._firsts = [[value]], [value]
            return
        place = max(bisect_right(self._firsts, value) - 1, 0)
        block = self._blocks[place]
        insort(block, value)
        self._firsts[place] = block[0]
        if len(block) > 2 * self._block:
            self._blocks[place : place + 1] = [block[: self._block], block[self._block :]]
            self._firsts.insert(place + 1, block[self._block])

    def remove(self, value: bytes) -> None:
        """Take out ``value``; KeyError if it is absent."""
        place = bisect_right(self._firsts, value) - 1
        block = self._blocks[place] if place >= 0 else []
        at = bisect_left(block, value)
        if at == len(block) or block[at] != value:
            raise KeyError(value)
        del block[at]
        if block:
            self._firsts[place] = block[0]
        else:
            del self._blocks[place], self._firsts[place]

    def first_after(self, bound: bytes) -> bytes | None:
        """The smallest value greater than ``bound``."""
        place = bisect_right(self._firsts, bound) - 1
        if place >= 0:
            block = self._blocks[place]
            at = bisect_right(block, bound)
            if at < len(block):
                return block[at]
        return self._firsts[place + 1] if place + 1 < len(self._firsts) else None
