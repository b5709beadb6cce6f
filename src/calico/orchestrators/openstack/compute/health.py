"""Whether the agent is alive and whether it is ready: asked over HTTP and by systemd's watchdog.

Alive: its event loop turns. Ready: it knows what to answer, from the datastore or from disk.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog

from calico.obs.conditions import Conditions
from calico.obs.listeners import HealthWanted, Listeners, MetricsWanted
from calico.obs.sdnotify import Notifier
from calico.orchestrators.openstack.compute.inputs import Inputs

__all__ = ["Health"]

log = structlog.get_logger(__name__)

_BEAT_S: Final = 0.5
_SILENT_S: Final = 30.0
_LISTEN_AGAIN_S: Final = 10.0


class Health:
    """Answers, and keeps the servers that give them; a service of the daemon. ``troubles``: of other listeners."""

    def __init__(
        self,
        inputs: Inputs,
        conditions: Conditions,
        wanted: set[HealthWanted | MetricsWanted],
        troubles: Callable[[], dict[str, str]],
    ) -> None:
        self._inputs, self._conditions = inputs, conditions
        self._wanted, self._troubles = wanted, troubles
        self._beat = time.monotonic()
        self._notifier = Notifier()

    def live(self) -> list[str]:
        """What hangs, from any thread."""
        silent = time.monotonic() - self._beat
        return [f"event-loop: silent for {silent:.0f} s"] if silent > _SILENT_S else []

    def ready(self) -> list[str]:
        """What is missing, from any thread."""
        if self._inputs.in_sync or self._inputs.view.counts[0]:
            return []
        return [f"datastore: {self._inputs.status.value}: {self._inputs.reason}".rstrip(": ")]

    async def run(self, listeners: Listeners) -> None:
        """Listen, and tell systemd, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._beating(), name="heartbeat")
                tasks.create_task(self._listening(listeners), name="listeners")
        finally:
            self._notifier.tell(STOPPING=1)
            listeners.close()

    async def _beating(self) -> None:
        self._notifier.tell(READY=1)
        told, pause = "", min(_BEAT_S, self._notifier.watchdog_s / 3 or _BEAT_S)
        while True:
            self._beat = time.monotonic()
            if self._notifier.watchdog_s:
                self._notifier.tell(WATCHDOG=1)
            status = "; ".join(self.ready()) or ("in sync" if self._inputs.in_sync else "answers from what it knew")
            if status != told:
                told = status
                self._notifier.tell(STATUS=status)
            await asyncio.sleep(pause)

    async def _listening(self, listeners: Listeners) -> None:
        while True:
            listeners.want(self._wanted)
            troubles = {**listeners.troubles, **self._troubles()}
            for name, trouble in troubles.items():
                if self._conditions.set("listener-failed", name, trouble):
                    log.warning("an address cannot be listened on", listener=name, error=trouble)
            self._conditions.replace("listener-failed", troubles)
            await asyncio.sleep(_LISTEN_AGAIN_S if listeners.troubles else 1.0)
