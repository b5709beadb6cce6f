"""Asks BIRD now and then how it is, and reads its log, so that a status document is always at hand."""

from __future__ import annotations

import asyncio
from pathlib import Path

from calico.bgp.agentstate import AgentState
from calico.bgp.bird.faults import Fault
from calico.bgp.bird.log import LogFollower
from calico.bgp.bird.signatures import Signatures, parse_netstat, suspects
from calico.bgp.bird.supervisor import Supervisor
from calico.bgp.problem import CATALOGUE
from calico.bgp.readiness import CONVERGENCE_S, all_up
from calico.errors import Transient

__all__ = ["StatusWatch"]

_EVERY_S = 1.0
_EVERY_SETTLED_S = 3.0
_UNANSWERED_BEFORE_PROBLEM = 3
_ENABLE_EVERY_S = 5.0
_DROP_IS_NEWS_FOR_S = 60.0
_SUSPECTED_FOR_S = 60.0
_STUCK_AFTER_S = 4.0
_TRYING = ("Connect", "OpenSent", "OpenConfirm")
_NETSTAT = Path("/proc/net/netstat")


class StatusWatch:
    """Keeps BIRD's part of the agent's state current: more often while sessions are coming up."""

    def __init__(self, supervisor: Supervisor, state: AgentState) -> None:
        self._supervisor = supervisor
        self._state = state
        self._log = LogFollower(supervisor.files.log)
        self._unanswered = 0
        self._enable_at = 0.0
        self._dropped_until = 0.0
        self._converged_at = 0.0
        self._signatures = _read_signatures()
        self._trying: dict[str, tuple[str, float]] = {}  # sessions in one of those states, since when
        self._suspicions: dict[str, tuple[Fault, float]] = {}  # of sessions, until when unless seen again

    async def run(self) -> None:
        """Watch for ever."""
        while True:
            await self.look()
            settled = all(session.established for session in self._state.sessions.values())
            try:
                async with asyncio.timeout(_EVERY_SETTLED_S if settled else _EVERY_S):
                    await self._supervisor.changed.wait()
            except TimeoutError:
                continue
            self._supervisor.changed.clear()

    async def look(self) -> None:
        """One round."""
        self._state.restarts = self._supervisor.restarts
        self._state.config_at = self._supervisor.configured_at
        now = asyncio.get_running_loop().time()
        self._read_log(now)
        try:
            self._state.bird, self._state.sessions = await self._supervisor.control.overview()
            self._note_signatures(now)
            self._note_stuck(now)
            self._note_convergence(now)
            await self._care_for_listening(now)
        except Transient as error:
            self._on_silence(str(error))
            return
        self._unanswered = 0
        self._state.bird_running = True
        self._supervisor.forget("bird-unresponsive")

    def _read_log(self, now: float) -> None:
        for code in self._log.read():
            self._supervisor.note(code, CATALOGUE[code].meaning)
            if code == "bird-netlink-dropped":
                self._dropped_until = now + _DROP_IS_NEWS_FOR_S
        if now > self._dropped_until:
            self._supervisor.forget("bird-netlink-dropped")

    def _note_signatures(self, now: float) -> None:
        """Name the sessions that are down and may be so because the ends differ in their passwords."""
        seen, plan = _read_signatures(), self._state.plan
        new, self._signatures = seen.since(self._signatures), seen
        found = suspects(new, plan.peers if plan is not None else (), self._state.sessions)
        known = {**self._suspicions, **{name: (why, now + _SUSPECTED_FOR_S) for name, why in found.items()}}
        self._suspicions = {name: (why, end) for name, (why, end) in known.items() if now < end and self._is_down(name)}
        self._state.suspicions = {name: why for name, (why, _) in self._suspicions.items()}
        passwords = {name: why.text for name, why in self._state.suspicions.items() if why.kind == "password"}
        if passwords:
            told = "; ".join(f"{name}: {why}" for name, why in sorted(passwords.items())[:5])
            self._supervisor.note("bgp-password-mismatch", told)
        else:
            self._supervisor.forget("bgp-password-mismatch")

    def _note_convergence(self, now: float) -> None:
        if not self._state.in_sync:
            return
        self._converged_at = self._converged_at or now + CONVERGENCE_S
        self._state.converged = self._state.converged or now >= self._converged_at or all_up(self._state)

    def _note_stuck(self, now: float) -> None:
        """Name the sessions that have tried for a while without an answer, which BIRD does not count as an error."""
        trying = {name: session.state for name, session in self._state.sessions.items() if session.state in _TRYING}
        before = self._trying
        self._trying = {
            name: before[name] if before.get(name, ("",))[0] == state else (state, now)
            for name, state in trying.items()
        }
        self._state.stuck = frozenset(name for name, (_, at) in self._trying.items() if now - at >= _STUCK_AFTER_S)

    def _is_down(self, name: str) -> bool:
        session = self._state.sessions.get(name)
        return session is not None and not session.established

    async def _care_for_listening(self, now: float) -> None:
        """BIRD disables sessions it cannot listen for, for good; they are enabled again now and then."""
        deaf = sorted(name for name, session in self._state.sessions.items() if session.cannot_listen)
        if not deaf:
            self._supervisor.forget("bird-listen-failed")
            return
        self._supervisor.note("bird-listen-failed", CATALOGUE["bird-listen-failed"].meaning)
        if now >= self._enable_at:
            self._enable_at = now + _ENABLE_EVERY_S
            await self._supervisor.control.enable(deaf)

    def _on_silence(self, why: str) -> None:
        self._unanswered += 1
        self._state.bird_running = self._supervisor.pid is not None
        self._state.sessions = {}
        if self._state.bird_running and self._unanswered >= _UNANSWERED_BEFORE_PROBLEM:
            self._supervisor.note("bird-unresponsive", why)


def _read_signatures() -> Signatures:
    try:
        return parse_netstat(_NETSTAT.read_text())
    except OSError:
        return Signatures()
