"""The status document of the BGP agent: what BIRD runs, which sessions there are, and what is wrong. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from calico.bgp.agentstate import AgentState
from calico.bgp.bird.control import Session
from calico.bgp.bird.faults import Fault, fault_of
from calico.bgp.planning.birdplan import BirdPlan, PeerPlan
from calico.bgp.problem import CATALOGUE, Problem, problems_as_data
from calico.bgp.readiness import no_session_up, unready

__all__ = ["status_document"]


def status_document(state: AgentState, bird_problems: Iterable[Problem], now: float = 0.0) -> dict[str, Any]:
    """The document, JSON-ready; ``now`` in seconds of the epoch.
    Sessions that are planned but that BIRD does not know yet appear as ``Unknown``."""
    planned = {peer.name: peer for peer in state.plan.peers} if state.plan is not None else {}
    why_not = unready(state)
    return {
        "component": "bgp",
        "node": state.node,
        "pid": state.pid,
        "version": state.version,
        "bird": {
            "version": state.bird.version,
            "state": _bird_state(state),
            "router_id": state.bird.router_id,
            "last_reconfiguration": state.bird.last_reconfiguration,
            "restarts": state.restarts,
        },
        "ready": not why_not,
        "not_ready": why_not,
        "drained": state.plan is not None and state.plan.drained,
        "in_sync": state.in_sync,
        "config_revision": state.config_revision,
        "config_age_s": max(0.0, round(now - state.config_at, 1)) if state.config_at else 0.0,
        "configurations": dict(state.configurations),
        "sessions": [
            _session(name, planned.get(name), state.sessions.get(name), _fault(name, state))
            for name in sorted(planned.keys() | state.sessions.keys())
        ],
        "prefixes": _prefixes(state.plan),
        "conditions": problems_as_data(
            (
                *state.plan_problems,
                *state.agent_problems,
                *state.contact_problems,
                *state.listener_problems,
                *_no_session(state),
                *bird_problems,
            )
        ),
    }


def _no_session(state: AgentState) -> Iterable[Problem]:
    if state.converged and no_session_up(state):
        yield Problem("bgp-no-session", f"Node {state.node}", CATALOGUE["bgp-no-session"].meaning)


def _bird_state(state: AgentState) -> str:
    if not state.bird_running:
        return "down"
    return "recovering" if state.bird.recovering else "up"


def _prefixes(plan: BirdPlan | None) -> dict[str, Any]:
    """What decides on exports beside BGPFilters; empty while there is no plan."""
    if plan is None:
        return {"pools": [], "blocks": [], "withheld": []}
    return {
        "pools": [{"cidr": pool.cidr, "advertise": pool.advertise, "program": pool.program} for pool in plan.pools],
        "blocks": [block.cidr for block in plan.blocks],
        "withheld": [item.cidr for item in plan.withheld],
    }


def _fault(name: str, state: AgentState) -> Fault | None:
    running = state.sessions.get(name)
    if running is None:
        return state.suspicions.get(name)
    return fault_of(running, suspicion=state.suspicions.get(name), stuck=name in state.stuck)


def _session(name: str, planned: PeerPlan | None, running: Session | None, fault: Fault | None) -> dict[str, Any]:
    address = planned.address if planned is not None else running.peer_ip if running is not None else ""
    return {
        "name": name,
        "peer_ip": address,
        "type": planned.type if planned is not None else _type_of_name(name),
        "family": 6 if ":" in address else 4,
        "state": running.state if running is not None else "Unknown",
        "since": running.since if running is not None else "",
        "fault": fault.kind if fault is not None else "",
        "info": fault.text if fault is not None else "",
        "imported": running.imported if running is not None else 0,
        "exported": running.exported if running is not None else 0,
        "filters": list(planned.filters) if planned is not None else [],
        "own_routes_only": planned is not None and planned.admission is not None,
    }


def _type_of_name(name: str) -> str:
    """Of a session that is no longer planned: names carry the type."""
    return {"Mesh": "NodeMesh", "Global": "GlobalPeer", "Local": "LocalWorkload"}.get(
        name.partition("_")[0], "NodePeer"
    )
