"""What the agent tells Prometheus is what its status document says."""

from __future__ import annotations

from typing import Any

from prometheus_client import generate_latest

from calico.bgp.agentstate import AgentState
from calico.bgp.bird.control import BirdStatus, Session
from calico.bgp.metrics import bgp_registry
from calico.bgp.problem import Problem
from calico.bgp.status import status_document


def told(document: dict[str, Any]) -> list[str]:
    return generate_latest(bgp_registry(lambda: document, with_process=False)).decode().splitlines()


def test_sessions_routes_configurations_and_conditions_are_told(world: Any) -> None:
    plan = world.node("a", "10.0.0.1", "fd00::1").node("b", "10.0.0.2", "fd00::2").plan("a").plan
    session = Session(name="Mesh_10_0_0_2", state="Established", since="t", peer_ip="10.0.0.2", imported=3, exported=1)
    state = AgentState(
        node="a",
        pid=7,
        version="1",
        plan=plan,
        in_sync=True,
        config_revision=42,
        bird_running=True,
        restarts=2,
        bird=BirdStatus(recovering=True),
        sessions={session.name: session},
        configurations={"restarted": 4, "refused": 1},
        config_at=1000.0,
        listener_problems=(Problem("listener-failed", "metrics on *:1", "why"),),
    )
    lines = told(status_document(state, (), now=1060.0))
    for line in (
        'calico_bgp_sessions{state="Established",type="NodeMesh"} 1.0',
        'calico_bgp_sessions{state="Unknown",type="NodeMesh"} 1.0',
        'calico_bgp_session_up{peer="fd00::2",type="NodeMesh"} 0.0',
        'calico_bgp_routes_imported{peer="10.0.0.2",type="NodeMesh"} 3.0',
        'calico_bgp_routes_exported{peer="10.0.0.2",type="NodeMesh"} 1.0',
        'calico_bgp_configurations_total{how="restarted"} 4.0',
        'calico_bgp_configurations_total{how="refused"} 1.0',
        "calico_bgp_graceful_restarts_total 4.0",
        "calico_bgp_bird_restarts_total 2.0",
        "calico_bgp_bird_recovering 1.0",
        "calico_bgp_config_age_seconds 60.0",
        "calico_bgp_config_revision 42.0",
        "calico_bgp_ready 0.0",
        'calico_bgp_conditions{code="listener-failed",severity="warning"} 1.0',
    ):
        assert line in lines


def test_a_document_that_changes_while_it_is_made_is_asked_for_again(world: Any) -> None:
    tries = []

    def document() -> dict[str, Any]:
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError("dictionary changed size during iteration")
        return status_document(AgentState(node="a", pid=1, version="1"), ())

    lines = generate_latest(bgp_registry(document, with_process=False)).decode().splitlines()
    assert "calico_bgp_bird_up 0.0" in lines
