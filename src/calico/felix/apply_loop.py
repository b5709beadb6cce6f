"""When the host is programmed: as soon as something changed, again when something failed, and now and then to look.

Always true: nothing reaches the kernel from the calculation before the datastore is in sync.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable

import structlog

from calico.calc.graph import Graph
from calico.calc.messages import ProblemUpdate
from calico.errors import CalicoError
from calico.felix.config.settings import FelixConfig
from calico.felix.host import Host, Progress
from calico.felix.inputs import Inputs
from calico.felix.metrics import Metrics
from calico.felix.steps import OnStep, unwatched
from calico.obs.conditions import Conditions

__all__ = ["ApplyLoop"]

log = structlog.get_logger(__name__)

_RETRY_FIRST_S = 0.2
_RETRY_MAX_S = 10.0
_REST_MAX_S = 0.1


class ApplyLoop:
    """Drains the calculation into the host. ``check_config`` runs before each apply and may end the process."""

    def __init__(
        self,
        graph: Graph,
        inputs: Inputs,
        host: Host,
        conditions: Conditions,
        config: Callable[[], FelixConfig],
        check_config: Callable[[], None],
        wake: asyncio.Event,
        on_step: OnStep = unwatched,
        metrics: Metrics | None = None,
    ) -> None:
        self._metrics = metrics
        self._arrived = 0.0
        self.busy_since = 0.0
        """Since when an apply has been under way, on the monotonic clock; 0: none is."""
        self._graph = graph
        self._inputs = inputs
        self._host = host
        self._conditions = conditions
        self._config = config
        self._check_config = check_config
        self._wake = wake
        self._on_step = on_step
        self._retry_s = 0.0
        self._routes_due = time.monotonic()
        self.progress = Progress()
        self.on_applied: Callable[[], None] = lambda: None
        """Called after each attempt to program the host."""

    async def run(self) -> None:
        """Apply until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._timeout()):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            if not self._inputs.in_sync:
                continue
            self._check_config()
            started = self.busy_since = time.monotonic()
            await self._apply_once()
            self.busy_since = 0.0
            # Rest as long as it took: what changes meanwhile is applied at once, so a slow kernel is never overrun.
            await asyncio.sleep(min(time.monotonic() - started, _REST_MAX_S))

    async def _apply_once(self) -> None:
        started = time.monotonic()
        self._refresh(started)
        revision = self._inputs.revision
        self._arrived = self._arrived or self._inputs.take_pending_since()
        flushing = time.monotonic()
        messages = self._graph.flush()
        if self._metrics is not None:
            self._metrics.calculation_time.observe(time.monotonic() - flushing)
            self._metrics.on_messages(messages)
        self._on_step("calculated")
        for message in messages:
            if isinstance(message, ProblemUpdate):
                self._inputs.on_graph_problems(message.key, message.problems)
            self._host.on_message(message)
        self._on_step("told")
        try:
            done = await self._host.apply()
        except CalicoError as error:
            log.warning("programming failed", error=str(error))
            self._conditions.set("dataplane-retrying", "host", str(error))
            done = False
        else:
            self._conditions.clear("dataplane-retrying", "host")
            self._note_applied(revision, started)
        if done:
            self._retry_s = 0.0
        else:
            self.progress.failures += 1
            self._retry_s = min(max(self._retry_s * 2, _RETRY_FIRST_S), _RETRY_MAX_S)
        self.on_applied()

    def _note_applied(self, revision: int, started: float) -> None:
        first = self.progress.applies == 0
        self.progress.applied_revision = revision
        self.progress.applies += 1
        now = time.monotonic()
        self.progress.last_took_ms = (now - started) * 1000
        if self._metrics is not None:
            self._metrics.apply_time.observe(now - started)
            if self._arrived:
                self._metrics.latency.observe(now - self._arrived)
        self._arrived = 0.0
        if first:
            gc.collect()
            gc.freeze()  # what the snapshot left lives long: do not walk it again
            log.info("in sync", rev=revision, took_ms=round(self.progress.last_took_ms, 1))

    def _refresh(self, now: float) -> None:
        config = self._config()
        if config.route_refresh_s and now >= self._routes_due:
            self._routes_due = now + config.route_refresh_s
            if self.progress.applies:
                self._host.refresh_routes()

    def _timeout(self) -> float:
        now = time.monotonic()
        due = [self._routes_due]
        if self._retry_s:
            due.append(now + self._retry_s)
        return max(0.01, min(due) - now)
