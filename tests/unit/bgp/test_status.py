from __future__ import annotations

import json
from typing import Any

from calico.bgp.agentstate import AgentState
from calico.bgp.bird.control import BirdStatus, Session
from calico.bgp.problem import CATALOGUE, Problem
from calico.bgp.status import status_document


def _state(world: Any) -> AgentState:
    plan = world.node("a", "10.0.0.1", "fd00::1").node("b", "10.0.0.2", "fd00::2").plan("a").plan
    session = Session(name="Mesh_10_0_0_2", state="Established", since="t", peer_ip="10.0.0.2", imported=3, exported=1)
    gone = Session(name="Global_10_0_0_9", state="Idle", since="t", peer_ip="10.0.0.9", info="why")
    return AgentState(
        node="a",
        pid=7,
        version="1",
        plan=plan,
        in_sync=True,
        config_revision=42,
        bird_running=True,
        bird=BirdStatus(version="2.0.12", router_id="10.0.0.1", recovering=True),
        sessions={session.name: session, gone.name: gone},
        plan_problems=(Problem("bgp-field-unsupported", "BGPPeer x", "spec.password"),),
    )


def test_the_document_lists_planned_and_running_sessions_with_their_type(world: Any) -> None:
    document = status_document(_state(world), ())
    rows = {row["name"]: (row["type"], row["family"], row["state"], row["imported"]) for row in document["sessions"]}
    assert rows == {
        "Global_10_0_0_9": ("GlobalPeer", 4, "Idle", 0),
        "Mesh_10_0_0_2": ("NodeMesh", 4, "Established", 3),
        "Mesh_fd00__2": ("NodeMesh", 6, "Unknown", 0),
    }
    assert (document["component"], document["in_sync"], document["config_revision"]) == ("bgp", True, 42)
    assert document["bird"]["state"] == "recovering"
    assert json.loads(json.dumps(document)) == document


def test_the_document_says_what_decides_on_exports(world: Any) -> None:
    world.filter("f", exportV4=[{"action": "Reject"}]).peer("p", peerIP="10.0.0.9", asNumber=65001, filters=["f"])
    world.pool("open", "10.65.0.0/16").pool("tunnel", "10.66.0.0/16", vxlanMode="Always").block("a", "10.65.1.0/26")
    document = status_document(_state(world), ())
    assert {row["name"]: row["filters"] for row in document["sessions"]}["Global_10_0_0_9"] == ["f"]
    assert document["prefixes"]["blocks"] == ["10.65.1.0/26"]
    assert {pool["cidr"]: (pool["advertise"], pool["program"]) for pool in document["prefixes"]["pools"]} == {
        "10.65.0.0/16": ("always", True),
        "10.66.0.0/16": ("always", False),
    }


def test_every_condition_comes_once_with_its_severity(world: Any) -> None:
    state = _state(world)
    document = status_document(state, [Problem("bird-not-running", "BIRD", "x"), *state.plan_problems])
    assert [(c["code"], c["severity"]) for c in document["conditions"]] == [
        ("bgp-field-unsupported", "error"),
        ("bird-not-running", "critical"),
    ]


def test_a_bird_that_does_not_answer_is_down(world: Any) -> None:
    state = _state(world)
    state.bird_running = False
    assert status_document(state, ())["bird"]["state"] == "down"


def test_every_entry_of_the_catalogue_says_what_follows_from_it() -> None:
    assert all(kind.meaning for kind in CATALOGUE.values())
