"""Whether a daemon's event loop turns, and telling systemd so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from calico.obs.sdnotify import Notifier

__all__ = ["BEAT_S", "Heartbeat"]

BEAT_S: Final = 0.5
_SILENT_S: Final = 30.0


class Heartbeat:
    """The last moment at which the loop turned; may be asked from any thread."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def beat(self) -> float:
        """The loop turns now: when, on the monotonic clock."""
        self._last = time.monotonic()
        return self._last

    def silent(self, limit_s: float = _SILENT_S) -> list[str]:
        """What is wrong, if the loop has not turned for so long."""
        silent = time.monotonic() - self._last
        return [f"event-loop: silent for {silent:.0f} s"] if silent > limit_s else []

    async def run(self, live: Callable[[], list[str]], status: Callable[[], str]) -> None:
        """Beat and tell systemd, until cancelled: of its watchdog while nothing hangs, and of each new status."""
        notifier = Notifier()
        notifier.tell(READY=1)  # running; ready for its work is another question
        told, pause = "", min(BEAT_S, notifier.watchdog_s / 3 or BEAT_S)
        try:
            while True:
                self.beat()
                if notifier.watchdog_s and not live():
                    notifier.tell(WATCHDOG=1)
                now = status()
                if now != told:
                    told = now
                    notifier.tell(STATUS=now)
                await asyncio.sleep(pause)
        finally:
            notifier.tell(STOPPING=1)
