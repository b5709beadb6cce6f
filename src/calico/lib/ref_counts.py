"""Reference counts: who is the first to need a thing, and who the last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["RefCounts"]

T = TypeVar("T")


class RefCounts(Generic[T]):
    """Always true: an item is in here exactly when it was acquired more often than released."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[T, int] = {}

    def __contains__(self, item: T) -> bool:
        return item in self._counts

    def __iter__(self) -> Iterator[T]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self._counts)

    def acquire(self, item: T) -> bool:
        """Count one more; True when it is the first."""
        count = self._counts.get(item, 0)
        self._counts[item] = count + 1
        return count == 0

    def release(self, item: T) -> bool:
        """Count one less; True when it was the last. KeyError if it was never acquired."""
        count = self._counts[item]
        if count > 1:
            self._counts[item] = count - 1
            return False
        del self._counts[item]
        return True
