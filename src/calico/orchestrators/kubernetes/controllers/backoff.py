"""When a key that failed is tried again: twice as long after each failure, each key for itself."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Backoff"]

K = TypeVar("K", bound=Hashable)


class Backoff(Generic[K]):
    """Knows only keys that failed and did not succeed since."""

    def __init__(self, clock: Callable[[], float], first_s: float = 0.2, most_s: float = 60.0) -> None:
        self._clock, self._first_s, self._most_s = clock, first_s, most_s
        self._waits: dict[K, tuple[float, float]] = {}

    def failed(self, key: K) -> None:
        """Wait before the next try."""
        _, pause = self._waits.get(key, (0.0, self._first_s / 2))
        pause = min(pause * 2, self._most_s)
        self._waits[key] = (self._clock() + pause, pause)

    def succeeded(self, key: K) -> None:
        """Forget its failures."""
        self._waits.pop(key, None)

    def is_due(self, key: K) -> bool:
        """Whether it may be tried now."""
        return key not in self._waits or self._waits[key][0] <= self._clock()

    def next_s(self) -> float | None:
        """Seconds until some key is due; None when nothing waits."""
        if not self._waits:
            return None
        return max(0.0, min(due for due, _ in self._waits.values()) - self._clock())
