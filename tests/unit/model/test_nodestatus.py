"""CalicoNodeStatus: what is asked is validated, the answer is stored as Calico's clients expect it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from calico.model.codec import decode, encode
from calico.model.keys import ResourceKey, key_path
from calico.model.kinds import find_kind
from calico.model.nodestatus import (
    BGPDaemonStatus,
    CalicoNodeStatus,
    CalicoNodeStatusSpec,
    NodeAgentStatus,
    NodeBGPStatus,
    NodePeerStatus,
    NodeRoute,
    NodeRouteSource,
    NodeRoutesStatus,
    NodeStatusStatus,
)
from calico.model.validation import validate
from calico.model.validation.nodestatus import (
    CLASSES,
    DAEMON_STATES,
    PEER_TYPES,
    ROUTE_TYPES,
    SESSION_STATES,
    SOURCE_TYPES,
)

SCHEMA = Path(__file__).resolve().parents[3].parent / "shared" / "conformance" / "schema_constraints.json"
ASKED = {"node": "node1", "classes": ["Agent", "BGP", "Routes"], "updatePeriodSeconds": 10}
ANSWER = NodeStatusStatus(
    last_updated="2026-11-26T06:00:00Z",
    agent=NodeAgentStatus(bird_v4=BGPDaemonStatus(state="Ready", version="2.0.12", router_id="10.0.0.1")),
    bgp=NodeBGPStatus(
        number_established_v4=1,
        peers_v4=(NodePeerStatus(peer_ip="10.0.0.2", type="NodeMesh", state="Established", since="2026-11-26"),),
    ),
    routes=NodeRoutesStatus(
        routes_v6=(
            NodeRoute(
                type="FIB",
                destination="fd65::1/128",
                gateway="fd99::2",
                interface="eth0",
                learned_from=NodeRouteSource(source_type="NodeMesh", peer_ip="fd99::2"),
            ),
        )
    ),
)


def _faults(**changes: Any) -> list[str]:
    spec = {key: value for key, value in {**ASKED, **changes}.items() if value is not None}
    raw = {"kind": "CalicoNodeStatus", "metadata": {"name": "one"}, "spec": spec}
    return [error.field for error in validate(msgspec.convert(raw, CalicoNodeStatus))]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"node": ""}, "spec.node"),
        ({"node": "Node_1"}, "spec.node"),
        ({"classes": []}, "spec.classes"),
        ({"classes": ["BGP", "BGP"]}, "spec.classes[1]"),
        ({"classes": ["Felix"]}, "spec.classes[0]"),
        ({"updatePeriodSeconds": None}, "spec.updatePeriodSeconds"),
        ({"updatePeriodSeconds": -1}, "spec.updatePeriodSeconds"),
        ({"updatePeriodSeconds": 86401}, "spec.updatePeriodSeconds"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused_by_its_field(changes: dict[str, Any], field: str) -> None:
    assert _faults(**changes) == [field]


@pytest.mark.parametrize("period", [0, 1, 86400])
def test_a_question_may_be_for_one_answer_or_for_one_a_day(period: int) -> None:
    assert _faults(updatePeriodSeconds=period) == []


def test_every_count_and_part_of_an_answer_is_written_and_read_back_as_it_was() -> None:
    key = ResourceKey("CalicoNodeStatus", "", "one")
    asked = CalicoNodeStatus(spec=msgspec.convert(ASKED, CalicoNodeStatusSpec))
    empty = json.loads(encode(asked))["status"]
    assert empty == {
        "lastUpdated": None,
        "agent": {"birdV4": {}, "birdV6": {}},
        "bgp": {
            "numberEstablishedV4": 0,
            "numberNotEstablishedV4": 0,
            "numberEstablishedV6": 0,
            "numberNotEstablishedV6": 0,
        },
        "routes": {},
    }
    raw = encode(msgspec.structs.replace(asked, status=ANSWER))
    (route,) = json.loads(raw)["status"]["routes"]["routesV6"]
    assert route["learnedFrom"] == {"sourceType": "NodeMesh", "peerIP": "fd99::2"}
    found = decode(key, raw, 7).resource
    assert isinstance(found, CalicoNodeStatus)
    assert (found.spec, found.status) == (asked.spec, ANSWER)
    assert validate(found) == ()


def test_an_answer_outside_its_enumerations_is_refused() -> None:
    peer = NodePeerStatus(peer_ip="nowhere", type="Mesh", state="Up")
    wrong = msgspec.structs.replace(ANSWER, bgp=NodeBGPStatus(peers_v6=(peer,)))
    resource = CalicoNodeStatus(spec=msgspec.convert(ASKED, CalicoNodeStatusSpec), status=wrong)
    resource = msgspec.structs.replace(resource, metadata=msgspec.structs.replace(resource.metadata, name="one"))
    fields = [error.field for error in validate(resource)]
    assert fields == [f"status.bgp.peersV6[0].{name}" for name in ("peerIP", "type", "state")]


def test_the_kind_lives_where_calico_keeps_it_and_answers_to_its_names() -> None:
    path = key_path(ResourceKey("CalicoNodeStatus", "", "one"))
    assert path == "/calico/resources/v3/projectcalico.org/caliconodestatuses/one"
    for name in ("caliconodestatus", "caliconodestatuses", "NodeStatus", "nodestatuses"):
        assert find_kind(name).cls is CalicoNodeStatus


def test_enumerations_and_fields_are_those_of_the_published_schema() -> None:
    if not SCHEMA.exists():
        pytest.skip(f"{SCHEMA} is absent")
    crd = json.loads(SCHEMA.read_text())["crds"]["CalicoNodeStatus"]["schema"]["properties"]
    spec, status = crd["spec"]["properties"], crd["status"]["properties"]
    assert spec["classes"]["items"]["enum"] == list(CLASSES)
    assert status["agent"]["properties"]["birdV4"]["properties"]["state"]["enum"] == list(DAEMON_STATES)
    peer = status["bgp"]["properties"]["peersV4"]["items"]["properties"]
    assert (peer["type"]["enum"], peer["state"]["enum"]) == (list(PEER_TYPES), list(SESSION_STATES))
    route = status["routes"]["properties"]["routesV4"]["items"]["properties"]
    sources = route["learnedFrom"]["properties"]["sourceType"]["enum"]
    assert (route["type"]["enum"], sources) == (list(ROUTE_TYPES), list(SOURCE_TYPES))
    assert _names(CalicoNodeStatusSpec) == set(spec)
    assert _names(NodeStatusStatus) == set(status)
    assert _names(NodeBGPStatus) == set(status["bgp"]["properties"])
    assert _names(NodePeerStatus) == set(peer)
    assert _names(NodeRoute) == set(route)
    assert _names(BGPDaemonStatus) == set(status["agent"]["properties"]["birdV6"]["properties"])


def _names(cls: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(cls)}
