"""Whether the BGP agent is alive and whether BGP does its work, over HTTP beside its metrics.

Alive: the agent's event loop turns. Ready: see ``readiness``. What cannot be listened on is tried again and named.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Final

import structlog

from calico.bgp.agentstate import AgentState
from calico.bgp.problem import Problem
from calico.bgp.readiness import unready
from calico.obs.listeners import HealthWanted, Listeners, MetricsWanted

__all__ = ["AgentHealth"]

log = structlog.get_logger(__name__)

_BEAT_S: Final = 0.5
_SILENT_S: Final = 30.0
_LISTEN_AGAIN_S: Final = 10.0


class AgentHealth:
    """Answers, and keeps the servers that give them; a service of the agent."""

    def __init__(self, state: AgentState, wanted: Collection[HealthWanted | MetricsWanted]) -> None:
        self._state = state
        self._wanted = frozenset(wanted)
        self._beat = time.monotonic()

    def live(self) -> list[str]:
        """What hangs, from any thread."""
        silent = time.monotonic() - self._beat
        return [f"event-loop: silent for {silent:.0f} s"] if silent > _SILENT_S else []

    def ready(self) -> list[str]:
        """What is missing, from any thread."""
        why = unready(self._state)
        return [why] if why else []

    async def run(self, listeners: Listeners) -> None:
        """Listen until cancelled."""
        look_at = 0.0
        try:
            while True:
                self._beat = time.monotonic()
                if self._beat >= look_at:
                    look_at = self._beat + _LISTEN_AGAIN_S
                    self._listen(listeners)
                await asyncio.sleep(_BEAT_S)
        finally:
            listeners.close()

    def _listen(self, listeners: Listeners) -> None:
        listeners.want(set(self._wanted))
        found = tuple(Problem("listener-failed", name, trouble) for name, trouble in listeners.troubles.items())
        if found != self._state.listener_problems:
            self._state.listener_problems = found
            for problem in found:
                log.warning("an address cannot be listened on", listener=problem.object, error=problem.message)
