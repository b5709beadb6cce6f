"""The last value of each key, and which of them somebody downstream does not have yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

__all__ = ["Latest"]

K = TypeVar("K")
V = TypeVar("V")


class Latest(Generic[K, V]):
    """Always true: ``told`` with ``_pending`` laid over it is the current state; nothing pending equals what was told.

    However often a value changes between two ``take`` calls, at most one change per key is handed out.
    """

    def __init__(self) -> None:
        self._told: dict[K, V] = {}
        self._pending: dict[K, V | None] = {}

    @property
    def told(self) -> Mapping[K, V]:
        """What was handed out so far."""
        return self._told

    def put(self, key: K, value: V | None) -> None:
        """The value is now this; None: the key is absent."""
        if self._told.get(key) == value:
            self._pending.pop(key, None)
        else:
            self._pending[key] = value

    def take(self) -> tuple[dict[K, V], set[K]]:
        """(new or changed values, keys that are gone) since the last call."""
        changed: dict[K, V] = {}
        gone: set[K] = set()
        for key, value in self._pending.items():
            if value is None:
                del self._told[key]
                gone.add(key)
            else:
                self._told[key] = changed[key] = value
        self._pending = {}
        return changed, gone
