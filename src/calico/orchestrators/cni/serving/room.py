"""How much a daemon takes upon itself at once: calls that are being done, and bytes of questions that are not whole."""

from __future__ import annotations

import asyncio
from typing import Final

from calico.errors import InvalidInput

__all__ = ["CALLS_MAX", "Room"]

CALLS_MAX: Final = 512
_BYTES_MAX: Final = 64 << 20


class Room:
    """Callers beyond the limit stay in the kernel's queue; bytes beyond the limit are refused."""

    def __init__(self, calls: int = CALLS_MAX, size: int = _BYTES_MAX) -> None:
        self._calls = asyncio.Semaphore(calls)
        self._size, self._used = size, 0

    async def enter(self) -> None:
        """Return when one more call may be taken."""
        await self._calls.acquire()

    def leave(self, held: int = 0) -> None:
        """A call is done, and what it held is free."""
        self._used -= held
        self._calls.release()

    def hold(self, size: int) -> int:
        """So many bytes more are kept; InvalidInput when that is too much together with those of others."""
        if self._used + size > self._size:
            raise InvalidInput(f"callers sent more than {self._size >> 20} MiB at once")
        self._used += size
        return size
