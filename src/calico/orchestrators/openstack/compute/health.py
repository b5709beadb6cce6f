"""Whether the agent is alive and whether it is ready: asked over HTTP and by systemd's watchdog.

Alive: its event loop turns. Ready: it knows what to answer, from the datastore or from disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from calico.obs.conditions import Conditions
from calico.obs.heartbeat import Heartbeat
from calico.obs.listeners import HealthWanted, Listeners, MetricsWanted
from calico.orchestrators.openstack.compute.inputs import Inputs

__all__ = ["Health"]

log = structlog.get_logger(__name__)

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
        self._heartbeat = Heartbeat()

    def live(self) -> list[str]:
        """What hangs, from any thread."""
        return self._heartbeat.silent()

    def ready(self) -> list[str]:
        """What is missing, from any thread."""
        if self._inputs.in_sync or self._inputs.view.counts[0]:
            return []
        return [f"datastore: {self._inputs.status.value}: {self._inputs.reason}".rstrip(": ")]

    def _status(self) -> str:
        return "; ".join(self.ready()) or ("in sync" if self._inputs.in_sync else "answers from what it knew")

    async def run(self, listeners: Listeners) -> None:
        """Listen, and tell systemd, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._heartbeat.run(self.live, self._status), name="heartbeat")
                tasks.create_task(self._listening(listeners), name="listeners")
        finally:
            listeners.close()

    async def _listening(self, listeners: Listeners) -> None:
        while True:
            listeners.want(self._wanted)
            troubles = {**listeners.troubles, **self._troubles()}
            for name, trouble in troubles.items():
                if self._conditions.set("listener-failed", name, trouble):
                    log.warning("an address cannot be listened on", listener=name, error=trouble)
            self._conditions.replace("listener-failed", troubles)
            await asyncio.sleep(_LISTEN_AGAIN_S if listeners.troubles else 1.0)
