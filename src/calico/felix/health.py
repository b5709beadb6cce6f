"""Whether Felix is alive and whether it is ready: asked over HTTP and by systemd's watchdog.

Alive: its event loop turns, and no apply hangs. Ready: the datastore was in sync and the host is programmed. A
datastore that is away makes it neither dead nor unready: the last state is in force.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from calico.felix.apply_loop import ApplyLoop
from calico.felix.config.settings import FelixConfig
from calico.felix.inputs import Inputs
from calico.obs.conditions import Conditions
from calico.obs.heartbeat import Heartbeat
from calico.obs.listeners import HealthWanted, Listeners, MetricsWanted

__all__ = ["Health"]

log = structlog.get_logger(__name__)

_LOOP_SILENT_S = 30.0
_LISTEN_AGAIN_S = 10.0


class Health:
    """Answers, and keeps the servers that give them; a service of the daemon."""

    def __init__(
        self, config: Callable[[], FelixConfig], inputs: Inputs, apply_loop: ApplyLoop, conditions: Conditions
    ) -> None:
        self._config = config
        self._inputs = inputs
        self._apply_loop = apply_loop
        self._conditions = conditions
        self._heartbeat = Heartbeat()
        self._again = asyncio.Event()

    def live(self) -> list[str]:
        """What hangs, from any thread."""
        now, limits = time.monotonic(), dict(self._config().health_timeouts)
        problems = self._heartbeat.silent(limits.get("event-loop", _LOOP_SILENT_S))
        busy = self._apply_loop.busy_since
        limit = limits.get("apply", self._config().watchdog_s)
        if busy and limit and now - busy > limit:
            problems.append(f"apply: has been programming the host for {now - busy:.0f} s")
        return problems

    def ready(self) -> list[str]:
        """What is missing, from any thread."""
        if not self._inputs.in_sync:
            return [f"datastore: {self._inputs.status.value}: {self._inputs.reason}".rstrip(": ")]
        if not self._apply_loop.progress.applies:
            return ["host: not programmed yet"]
        return []

    def _status(self) -> str:
        return "; ".join(self.ready()) or "in sync"

    def on_config(self) -> None:
        """Settings changed."""
        self._again.set()

    async def run(self, listeners: Listeners) -> None:
        """Listen as the settings say, and tell systemd, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._heartbeat.run(self.live, self._status), name="heartbeat")
                tasks.create_task(self._listening(listeners), name="listeners")
        finally:
            listeners.close()

    async def _listening(self, listeners: Listeners) -> None:
        while True:
            self._again.clear()
            listeners.want(_wanted(self._config()))
            for name, trouble in listeners.troubles.items():
                if self._conditions.set("listener-failed", name, trouble):
                    log.warning("an address cannot be listened on", listener=name, error=trouble)
            self._conditions.replace("listener-failed", listeners.troubles)
            timeout = _LISTEN_AGAIN_S if listeners.troubles else None
            try:
                async with asyncio.timeout(timeout):
                    await self._again.wait()
            except TimeoutError:
                continue


def _wanted(config: FelixConfig) -> set[HealthWanted | MetricsWanted]:
    wanted: set[HealthWanted | MetricsWanted] = set()
    if config.health_enabled:
        wanted.add(HealthWanted(config.health_host, config.health_port))
    if config.metrics_enabled:
        wanted.add(
            MetricsWanted(
                config.metrics_host,
                config.metrics_port,
                config.metrics_cert,
                config.metrics_key,
                config.metrics_ca,
                config.metrics_client_auth == "requireandverifyclientcert",
            )
        )
    return wanted
