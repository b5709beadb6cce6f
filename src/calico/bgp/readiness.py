"""Whether BGP on this host does its work, as those must know who wait for it to be up. Pure.

Ready: BIRD runs the wanted configuration, a graceful restart is over, the state of every session is known, and the
first convergence has ended, with all sessions up or after ``CONVERGENCE_S``; from then on one session has to be up. A
host without sessions has nothing to wait for.
"""

from __future__ import annotations

from calico.bgp.agentstate import AgentState
from calico.bgp.planning.birdplan import BirdPlan, PeerPlan

__all__ = ["CONVERGENCE_S", "all_up", "no_session_up", "unready"]

CONVERGENCE_S = 30.0


def unready(state: AgentState) -> str:
    """Why the host is not ready; empty when it is."""
    if not state.bird_running:
        return "BIRD does not run"
    if state.bird.recovering:
        return "BIRD's graceful restart is not over"
    if not state.in_sync:
        return "BIRD does not yet run what the datastore says"
    unknown = [peer.name for peer in _expected(state.plan) if peer.name not in state.sessions]
    if unknown:
        return f"the state of {len(unknown)} sessions is not known yet ({', '.join(unknown[:3])})"
    if not state.converged:
        down = [peer.name for peer in _expected(state.plan) if not state.sessions[peer.name].established]
        return f"{len(down)} sessions are still coming up ({', '.join(down[:3])})" if down else ""
    return "no session is up" if no_session_up(state) else ""


def all_up(state: AgentState) -> bool:
    """Whether there is nothing left that the first convergence could bring."""
    running = state.sessions
    up = all(peer.name in running and running[peer.name].established for peer in _expected(state.plan))
    return state.in_sync and state.bird_running and not state.bird.recovering and up


def no_session_up(state: AgentState) -> bool:
    """Whether there should be sessions and none of them is up."""
    expected = _expected(state.plan)
    return bool(expected) and not any(session.established for session in state.sessions.values())


def _expected(plan: BirdPlan | None) -> list[PeerPlan]:
    """The sessions that do not depend on somebody's calling: workloads, and routers on a link, come when they like."""
    if plan is None:
        return []
    return [peer for peer in plan.peers if peer.type != "LocalWorkload" and not peer.dynamic]
