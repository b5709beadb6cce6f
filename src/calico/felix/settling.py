"""What Felix writes into the datastore about its own host, until it is as it should be."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from typing import Final

from calico.errors import CalicoError, Conflict

__all__ = ["REFUSED_RETRY_S", "Settling", "retry_after_s"]

_CONFLICT_RETRY_S: Final = 0.1
_RETRY_S: Final = 2.0
REFUSED_RETRY_S: Final = 60.0
"""Seconds after which what only an operator can mend is looked at again."""


def retry_after_s(error: CalicoError) -> float:
    """Seconds to wait after a failed write: where etcd has users, Felix may not write Nodes."""
    if isinstance(error, Conflict):
        return _CONFLICT_RETRY_S
    return REFUSED_RETRY_S if "lacks the right" in str(error) else _RETRY_S


class Settling(ABC):
    """Settles whenever ``on_change`` was called, and again after a failure."""

    def __init__(self) -> None:
        self._wake = asyncio.Event()

    def on_change(self) -> None:
        """What it depends on changed."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        pause: float | None = None
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            self._wake.clear()
            pause = await self._settle()

    @abstractmethod
    async def _settle(self) -> float | None:
        """How long to wait before the next try, unless something changes; None: until then."""
