"""When a host is ready, step by step from a start to the loss of its last session."""

from __future__ import annotations

from typing import Any

import pytest

from calico.bgp.agentstate import AgentState
from calico.bgp.bird.control import BirdStatus, Session
from calico.bgp.readiness import all_up, unready
from calico.bgp.status import status_document

MESH = ("Mesh_10_0_0_2", "Mesh_10_0_0_3")


@pytest.fixture
def state(world: Any) -> AgentState:
    """A host with two sessions that are up, whose first convergence is over."""
    for number, name in enumerate("abc", 1):
        world.node(name, f"10.0.0.{number}")
    plan = world.plan("a").plan
    return AgentState(
        node="a", pid=7, version="1", plan=plan, in_sync=True, converged=True, bird_running=True, sessions=_up(*MESH)
    )


def _up(*names: str) -> dict[str, Session]:
    return {name: Session(name=name, state="Established" if name in names else "Active", since="") for name in MESH}


def test_a_host_whose_sessions_are_up_is_ready(state: AgentState) -> None:
    document = status_document(state, ())
    assert (document["ready"], document["not_ready"], document["conditions"]) == (True, "", [])
    assert all_up(state)


def test_a_bird_that_is_down_recovering_or_behind_is_not_ready(state: AgentState) -> None:
    state.in_sync = False
    assert "does not yet run" in unready(state)
    state.bird = BirdStatus(recovering=True)
    assert "graceful restart" in unready(state)
    state.bird_running = False
    assert "does not run" in unready(state)
    assert not all_up(state)


def test_a_session_that_bird_does_not_know_of_is_waited_for(state: AgentState) -> None:
    state.sessions = {name: session for name, session in state.sessions.items() if name == MESH[0]}
    assert MESH[1] in unready(state)


def test_all_sessions_are_waited_for_at_first_and_one_is_enough_afterwards(state: AgentState) -> None:
    state.sessions = _up(MESH[0])
    state.converged = False
    assert unready(state) == f"1 sessions are still coming up ({MESH[1]})"
    assert not all_up(state)
    state.converged = True
    assert unready(state) == ""
    state.sessions = _up()
    assert unready(state) == "no session is up"


def test_the_loss_of_every_session_is_a_condition_but_not_while_they_first_come_up(state: AgentState) -> None:
    state.sessions = _up()
    (condition,) = status_document(state, ())["conditions"]
    assert (condition["code"], condition["severity"]) == ("bgp-no-session", "error")
    state.converged = False
    assert status_document(state, ())["conditions"] == []


def test_a_host_without_sessions_or_with_those_of_workloads_alone_has_nothing_to_wait_for(
    state: AgentState, world: Any
) -> None:
    world.config(nodeToNodeMeshEnabled=False).endpoint("a", "router", "10.65.1.1", labels={"role": "router"})
    world.peer("w", localWorkloadSelector="role == 'router'", asNumber=64900)
    state.plan = world.plan("a").plan
    assert [peer.type for peer in state.plan.peers] == ["LocalWorkload"]
    state.sessions = {}
    assert unready(state) == ""
    state.plan = None
    assert unready(state) == ""
