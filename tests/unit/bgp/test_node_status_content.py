"""What BIRD says, as a CalicoNodeStatus: checked with answers of real BIRDs of three versions."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from calico.bgp.bird.control import Reply, ReplyDecoder, Session, parse_sessions, parse_status
from calico.bgp.bird.routes import parse_routes
from calico.bgp.nodestatus.content import MOST_ROUTES, Seen, status_of
from calico.model.nodestatus import NodeRoute, NodeRouteSource, NodeStatusStatus
from calico.model.validation.nodestatus import check_node_status
from calico.model.validation.report import Report

RECORDED = Path(__file__).parent / "recorded"
NOW = "2026-11-26T06:00:00Z"
ALL = ("Agent", "BGP", "Routes")
TYPES = {"Mesh_10_99_0_2": "NodeMesh", "Mesh_fd99__2": "NodeMesh", "Node_10_99_0_9": "NodePeer"}


def _reply(version: str, name: str) -> Reply:
    (reply,) = ReplyDecoder().feed((RECORDED / version / f"{name}.txt").read_bytes())
    return reply


def _seen(version: str, protocols: str = "protocols") -> Seen:
    return Seen(
        bird=parse_status(_reply(version, "status")),
        sessions=tuple(parse_sessions(_reply(version, protocols)).values()),
        routes=parse_routes(_reply(version, "routes")),
        types=TYPES,
    )


def _faults(status: NodeStatusStatus) -> list[str]:
    report = Report()
    check_node_status(report, status)
    return [str(error) for error in report.errors]


@pytest.mark.parametrize("version", ["2.0.12", "2.17.6", "3.1.8"])
def test_an_answer_of_any_bird_is_a_valid_status(version: str) -> None:
    status = status_of(ALL, _seen(version), NOW)
    assert _faults(status) == []
    assert (status.last_updated, status.agent.bird_v6.version) == (NOW, version)
    bgp = status.bgp
    assert (bgp.number_established_v4, bgp.number_not_established_v4, bgp.number_established_v6) == (2, 0, 1)
    assert {peer.peer_ip: peer.type for peer in bgp.peers_v4} == {"10.99.0.2": "NodeMesh", "10.99.0.9": "NodePeer"}
    routes = {(route.destination, route.learned_from.source_type): route for route in status.routes.routes_v4}
    assert routes["10.65.1.1/32", "Kernel"].type == "FIB"
    assert routes["10.65.1.1/32", "BGPPeer"] == NodeRoute(
        type="RIB",
        destination="10.65.1.1/32",
        gateway="10.99.0.9",
        interface="eth0",
        learned_from=NodeRouteSource(source_type="BGPPeer", peer_ip="10.99.0.9"),
    )
    assert ("10.99.0.0/24", "Direct") in routes
    assert {route.destination for route in status.routes.routes_v6} == {"fd65::1/128", "fd99::/64"}


def test_a_session_that_is_disabled_is_idle_and_a_waiting_one_active() -> None:
    status = status_of(["BGP"], _seen("2.0.12", "disabled-session"), NOW)
    assert [peer.state for peer in status.bgp.peers_v4 if peer.peer_ip == "10.99.0.9"] == ["Idle"]
    waiting = Session(name="x", state="Passive", since="", peer_ip="10.0.0.9")
    odd = Session(name="y", state="Something", since="", peer_ip="fd00::9")
    bgp = status_of(["BGP"], Seen(sessions=(waiting, odd)), NOW).bgp
    assert (bgp.peers_v4[0].state, bgp.peers_v6[0].state) == ("Active", "Idle")
    assert (bgp.number_not_established_v4, bgp.number_not_established_v6) == (1, 1)


def test_what_is_not_asked_for_stays_empty_and_a_silent_bird_is_not_ready() -> None:
    seen = _seen("2.0.12")
    assert status_of(["Agent"], seen, NOW).bgp == NodeStatusStatus().bgp
    assert status_of(["BGP"], seen, NOW).routes == NodeStatusStatus().routes
    assert status_of(ALL, Seen(), NOW).agent.bird_v4.state == "NotReady"
    recovering = msgspec.structs.replace(seen, bird=parse_status(_reply("2.0.12", "recovering")))
    assert status_of(ALL, recovering, NOW).agent.bird_v4.state == "NotReady"


def test_more_routes_than_the_datastore_takes_are_left_out() -> None:
    route = parse_routes(_reply("2.0.12", "routes"))[0]
    many = tuple(msgspec.structs.replace(route, net=f"10.{n // 250}.{n % 250}.1/32") for n in range(MOST_ROUTES + 5))
    assert len(status_of(["Routes"], Seen(routes=many), NOW).routes.routes_v4) == MOST_ROUTES


def test_sessions_with_workloads_have_the_type_that_comes_nearest() -> None:
    document = {"sessions": [{"name": "w", "type": "LocalWorkload"}, {"name": "m", "type": "NodeMesh"}]}
    assert Seen.types_of(document) == {"w": "NodePeer", "m": "NodeMesh"}
