"""How often something may happen: a token bucket that is told the time."""

from __future__ import annotations

__all__ = ["Bucket"]


class Bucket:
    """``rate`` a second, ``burst`` at once. Always true: never more than ``burst`` tokens."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = burst, 0.0

    def take(self, now: float) -> bool:
        """Whether it may happen at ``now`` (seconds of any clock that does not go back)."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
