"""Sets that are usually tiny, a million times over: a tuple up to four items, a real set beyond.

An empty ``set`` takes 216 bytes, a tuple of one item 48. The functions return the set to keep: assign the result.
"""

from __future__ import annotations

from typing import TypeAlias, TypeVar

__all__ = ["SmallSet", "with_item", "without_item"]

T = TypeVar("T")
SmallSet: TypeAlias = tuple[T, ...] | set[T]

LARGEST_TUPLE = 4


def with_item(items: SmallSet[T], item: T) -> SmallSet[T]:
    """The set with ``item`` in it. A set that is large is changed in place and returned."""
    if isinstance(items, set):
        items.add(item)
        return items
    if item in items:
        return items
    return (*items, item) if len(items) < LARGEST_TUPLE else {*items, item}


def without_item(items: SmallSet[T], item: T) -> SmallSet[T]:
    """The set without ``item``, which may be absent. A set that stays large is changed in place and returned."""
    if isinstance(items, set):
        items.discard(item)
        # Half the threshold, so that a set at the border does not change its form at every step.
        return tuple(items) if len(items) <= LARGEST_TUPLE // 2 else items
    return tuple(other for other in items if other != item)
