"""Reads that several callers share, none of whom gets an answer older than its question."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from calico.errors import CalicoError

__all__ = ["SharedReads"]

_K = TypeVar("_K", bound=Hashable)
_R = TypeVar("_R")


class _Next(Generic[_R]):
    """A read that has not begun, and who waits for it."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.answers: list[_R] = []
        self.error: CalicoError | None = None


class SharedReads(Generic[_K, _R]):
    """While one read goes on, all who come wait for the next one, and share it."""

    def __init__(self) -> None:
        self._next: dict[_K, _Next[_R]] = {}
        self._going: dict[_K, asyncio.Lock] = {}

    async def read(self, key: _K, read: Callable[[], Awaitable[_R]]) -> _R:
        """The answer of a read that began after this call."""
        shared = self._next.setdefault(key, _Next())
        async with shared.turn:
            if shared.error is not None:
                raise shared.error
            if not shared.answers:
                await self._take(key, shared, read)
            return shared.answers[0]

    async def _take(self, key: _K, shared: _Next[_R], read: Callable[[], Awaitable[_R]]) -> None:
        going = self._going.setdefault(key, asyncio.Lock())
        async with going:
            if self._next.get(key) is shared:
                del self._next[key]  # who comes from now on needs a newer answer
            try:
                shared.answers.append(await read())
            except CalicoError as error:
                shared.error = error
                raise
        if not going.locked():
            self._going.pop(key, None)
