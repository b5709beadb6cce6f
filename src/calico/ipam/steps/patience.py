"""A backend whose calls are repeated while the datastore is briefly unavailable, for a stated time.

A write whose answer was lost is not repeated: whether it happened is for the caller to find out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from calico.datastore.api import Backend, KeyValue, Listing, Op, Query
from calico.errors import Transient, Uncertain

__all__ = ["PatientBackend"]

_R = TypeVar("_R")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0


class PatientBackend:
    """The reads and writes that IPAM needs. A call that is begun within ``patience_s`` is waited for."""

    def __init__(
        self,
        backend: Backend,
        patience_s: float,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.backend = backend
        self._patience_s = patience_s
        self._sleep = sleep

    async def get(self, key: str) -> KeyValue | None:
        """The key now."""
        return await self._patiently(lambda: self.backend.get(key))

    async def list(self, prefix: str) -> Listing:
        """The keys under a prefix now."""
        return await self._patiently(lambda: self.backend.list(prefix))

    async def read(self, queries: Sequence[Query]) -> tuple[tuple[KeyValue, ...], ...]:
        """All of one revision, in one round trip."""
        return await self._patiently(lambda: self.backend.read(queries))

    async def txn(self, ops: Sequence[Op]) -> int:
        """All or nothing; CompareFailed, or Uncertain at once when the answer was lost."""
        return await self._patiently(lambda: self.backend.txn(ops))

    async def _patiently(self, call: Callable[[], Awaitable[_R]]) -> _R:
        loop = asyncio.get_running_loop()
        pause, ends = _FIRST_PAUSE_S, loop.time() + self._patience_s
        while True:
            try:
                return await call()
            except Uncertain:
                raise
            except Transient:
                if loop.time() >= ends:
                    raise
            await self._sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
