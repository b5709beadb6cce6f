"""Whether the BGP agent is alive and whether BGP does its work, over HTTP beside its metrics.

Alive: the agent's event loop turns. Ready: see ``readiness``. What cannot be listened on is tried again and named.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

import structlog

from calico.bgp.agentstate import AgentState
from calico.bgp.problem import Problem
from calico.bgp.readiness import unready
from calico.obs.heartbeat import BEAT_S, Heartbeat
from calico.obs.listeners import HealthWanted, Listeners, MetricsWanted

__all__ = ["AgentHealth"]

log = structlog.get_logger(__name__)

_LISTEN_AGAIN_S: Final = 10.0


class AgentHealth:
    """Answers, and keeps the servers that give them; a service of the agent."""

    def __init__(self, state: AgentState, wanted: Collection[HealthWanted | MetricsWanted]) -> None:
        self._state = state
        self._wanted = frozenset(wanted)
        self._heartbeat = Heartbeat()

    def live(self) -> list[str]:
        """What hangs, from any thread."""
        return self._heartbeat.silent()

    def ready(self) -> list[str]:
        """What is missing, from any thread."""
        why = unready(self._state)
        return [why] if why else []

    async def run(self, listeners: Listeners) -> None:
        """Listen until cancelled."""
        look_at = 0.0
        try:
            while True:
                now = self._heartbeat.beat()
                if now >= look_at:
                    look_at = now + _LISTEN_AGAIN_S
                    self._listen(listeners)
                await asyncio.sleep(BEAT_S)
        finally:
            listeners.close()

    def _listen(self, listeners: Listeners) -> None:
        listeners.want(set(self._wanted))
        found = tuple(Problem("listener-failed", name, trouble) for name, trouble in listeners.troubles.items())
        if found != self._state.listener_problems:
            self._state.listener_problems = found
            for problem in found:
                log.warning("an address cannot be listened on", listener=problem.object, error=problem.message)
