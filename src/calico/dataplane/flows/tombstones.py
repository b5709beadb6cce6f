"""How long an ended connection is kept from being opened again by its responder: until policy allows it, or a while.

The elements themselves are those of ``calico.rules.ended``; they outlive this process, and are taken over by the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile
from typing import Final

from calico.rules.ended import EndedFlow, EndedFlows

__all__ = ["Tombstones"]

_LIFETIME_S: Final = 3 * 3600.0
"""Longer than a TCP socket with keepalive needs to find out (2 h 11 min with Linux's settings)."""

_MOST: Final = 16384


class Tombstones:
    """The ended connections, oldest first, each with the time at which it is no longer remembered."""

    def __init__(self, ended: EndedFlows, commit: Callable[[], object], *, most: int = _MOST) -> None:
        """``commit`` brings the kernel to the table state, or raises."""
        self._ended = ended
        self._commit = commit
        self._most = most
        self._until: dict[EndedFlow, float] = {}

    def __len__(self) -> int:
        return len(self._until)

    def __iter__(self) -> Iterator[EndedFlow]:
        return iter(list(self._until))

    def adopt(self) -> None:
        """Take over what an earlier process left in the table."""
        until = time.monotonic() + _LIFETIME_S
        self._until |= {flow: until for flow in self._ended if flow not in self._until}

    def add(self, flows: Iterable[EndedFlow]) -> None:
        """From now on, and in the kernel when this returns, the responders cannot open these flows anew."""
        until, new = time.monotonic() + _LIFETIME_S, list(flows)
        for flow in new:
            self._until.pop(flow, None)
            self._until[flow] = until
            self._ended.add(flow)
        while len(self._until) > self._most:
            self._ended.remove(self._pop_oldest())
        if new:
            self._commit()

    def remove(self, flows: Iterable[EndedFlow]) -> None:
        """These may be opened again."""
        gone = [flow for flow in flows if self._until.pop(flow, None) is not None]
        for flow in gone:
            self._ended.remove(flow)
        if gone:
            self._commit()

    def expire(self) -> float | None:
        """Remove what is too old; seconds until the next one will be, None when there is none."""
        now = time.monotonic()
        self.remove([flow for flow, _ in takewhile(lambda item: item[1] <= now, self._until.items())])
        return next((until - now for until in self._until.values()), None)

    def _pop_oldest(self) -> EndedFlow:
        oldest = next(iter(self._until))
        del self._until[oldest]
        return oldest
