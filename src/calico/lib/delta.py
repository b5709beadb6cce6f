"""What was added to and removed from a set since somebody last looked; opposite changes cancel out."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["Delta"]

T = TypeVar("T")


class Delta(Generic[T]):
    """Always true: ``added`` and ``removed`` are disjoint, and no larger than what changed."""

    __slots__ = ("added", "removed")

    def __init__(self) -> None:
        self.added: set[T] = set()
        self.removed: set[T] = set()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)

    def add(self, item: T) -> None:
        """``item``, absent until now, is present."""
        if item in self.removed:
            self.removed.discard(item)
        else:
            self.added.add(item)

    def remove(self, item: T) -> None:
        """``item``, present until now, is absent."""
        if item in self.added:
            self.added.discard(item)
        else:
            self.removed.add(item)

    def take(self) -> tuple[frozenset[T], frozenset[T]]:
        """(added, removed) since the last call."""
        taken = frozenset(self.added), frozenset(self.removed)
        self.added, self.removed = set(), set()
        return taken
