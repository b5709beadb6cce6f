from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from calico.bgp.birdconf.difference import sessions_in
from calico.bgp.birdconf.render import render
from calico.bgp.birdconf.text import address, prefix, quoted, symbol
from calico.bgp.planning.birdplan import BirdPlan, PeerPlan
from calico.errors import InvalidInput

GOLDEN = Path(__file__).parent / "golden"
LOG = "/run/calico/bird.log"


def _mesh(world: Any) -> Any:
    world.node("a", "10.0.0.1", "fd00::1").node("b", "10.0.0.2", "fd00::2")
    world.pool("v4", "10.65.0.0/16").pool("v6", "fd65::/48").pool("quiet", "10.66.0.0/16", disableBGPExport=True)
    world.pool("tunnel", "10.67.0.0/16", vxlanMode="Always")
    world.block("a", "10.65.1.0/26").block("a", "10.65.1.64/32").block("a", "fd65::/122")
    return world.config(ignoredInterfaces=["docker*"], logSeverityScreen="Debug", nodeMeshMaxRestartTime="90s")


def _reflector(world: Any) -> Any:
    world.config(nodeToNodeMeshEnabled=False, listenPort=1790, bindMode="NodeIP", asNumber=65000)
    world.node("a", "10.0.0.1", routeReflectorClusterID="224.0.0.1").node("b", "10.0.0.2").pool("v4", "10.65.0.0/16")
    world.peer("clients", nodeSelector="all()", peerSelector="all()")
    tor = {"ttlSecurity": 1, "keepaliveTime": "40s", "numAllowedLocalASNumbers": 2, "nextHopMode": "Self"}
    return world.peer("tor", node="a", peerIP="10.0.0.254:179", asNumber=4200000000, localASNumber=65010, **tor)


def _drained(world: Any) -> Any:
    drain = {"bgp.calico-network/drain": "true"}
    world.node("a", "10.0.0.1", "fd00::1", annotations=drain, routeReflectorClusterID="224.0.0.1")
    world.node("b", "10.0.0.2", "fd00::2").pool("v4", "10.65.0.0/16").pool("v6", "fd65::/48").block("a", "10.65.1.0/26")
    added = {"addCommunity": {"value": "65000:5"}}
    rules = {f"{way}V4": [{"action": "Accept", "operations": [added]}] for way in ("import", "export")}
    world.filter("all", **rules).peer("filtered", peerIP="10.0.0.9", asNumber=65001, filters=["all"])
    return world.peer("plain", peerIP="10.0.0.8", asNumber=65001)


def _filters(world: Any) -> Any:
    world.node("a", "10.0.0.1", "fd00::1", asNumber=65000).pool("v4", "10.65.0.0/16").block("a", "10.65.1.0/26")
    world.config(
        communities=[{"name": "blue", "value": "65000:7:9"}],
        prefixAdvertisements=[{"cidr": "10.65.1.0/24", "communities": ["65000:1", "blue"]}],
    )
    added, path = {"addCommunity": {"value": "65000:5"}}, {"prependASPath": {"prefix": [65000, 65001]}}
    world.filter(
        "edge.site-1",
        exportV4=[
            {"action": "Reject", "cidr": "10.65.9.0/24", "matchOperator": "Equal"},
            {"action": "Reject", "cidr": "10.65.0.0/16", "matchOperator": "In", "prefixLength": {"min": 27, "max": 31}},
            {"action": "Reject", "cidr": "10.64.0.0/10", "matchOperator": "NotIn", "source": "RemotePeers"},
            {"action": "Accept", "interface": "eth*", "peerType": "eBGP", "operations": [added, path]},
            {"action": "Accept", "communities": {"values": ["1:2:3"]}, "asPathPrefix": [65001, 65002]},
        ],
        importV4=[{"action": "Accept", "priority": 512, "operations": [{"setPriority": {"value": 100}}]}],
        importV6=[{"action": "Reject"}],
    ).filter("a" * 60)
    world.peer("four", peerIP="10.0.0.9", asNumber=65001, filters=["edge.site-1", "a" * 60])
    return world.peer("six", peerIP="fd00::9", asNumber=65000, filters=["edge.site-1"])


CASES: dict[str, Callable[[Any], Any]] = {
    "mesh": _mesh,
    "reflector": _reflector,
    "bare": lambda world: world,
    "drained": _drained,
    "filters": _filters,
    "ipv6-only": lambda world: world.node("a", "", "fd00::1").node("b", "", "fd00::2"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_configuration_of_a_known_cluster_is_as_written_down_and_bird_accepts_it(
    world: Any, name: str, bird_refusal: Callable[[str], str]
) -> None:
    text = render(CASES[name](world).plan("a").plan, LOG)
    assert text == (GOLDEN / f"{name}.conf").read_text()
    assert bird_refusal(text.replace(LOG, "/dev/null")) == ""


@pytest.mark.parametrize("mode", ["pools", "interfaces"])
def test_bird_accepts_host_route_export_on_a_reflector(world: Any, mode: str, bird_refusal: Any) -> None:
    text = render(_reflector(world).plan("a", export_mode=mode).plan, LOG)
    assert ("RTS_INHERIT" in text) == (mode == "interfaces")
    assert bird_refusal(text) == ""


def test_bird_accepts_every_option_at_its_limits(bird_refusal: Any) -> None:
    peer = PeerPlan(
        name="Node_10_0_0_2_port_65535",
        type="NodePeer",
        family=4,
        address="10.0.0.2",
        remote_as=0xFFFFFFFF,
        local_as=0xFFFFFFFF,
        port=65535,
        ttl_security_hops=255,
        restart_time_s=4095,
        keepalive_time_s=21845,
        next_hop="keep",
        allowed_local_as=2**31 - 1,
        rr_cluster_id="255.255.255.255",
    )
    low = msgspec.structs.replace(
        peer, name="Node_x", port=1, ttl_security_hops=1, restart_time_s=0, keepalive_time_s=1, allowed_local_as=0
    )
    for one in (peer, low):
        debug: Any = "none" if one is low else "all"
        plan = BirdPlan(debug=debug, router_id="255.255.255.254", listen_port=65535, peers=(one,))
        for priority in (1, 2147483646):
            text = render(msgspec.structs.replace(plan, normal_priority_v4=priority), LOG)
            assert bird_refusal(text) == ""


@pytest.mark.parametrize("text", ['"', 'a"b', "a\nb", "ä", "a\0", "x" * 256])
def test_what_a_string_literal_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        quoted(text)


@pytest.mark.parametrize(
    "text", ["", "static", "Mesh_", "Mesh_a-b", "Mesh_a b", "Mesh_a;", "Mesh_" + "1" * 60, "Mesh_é"]
)
def test_a_name_that_is_no_symbol_or_could_be_a_keyword_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        symbol(text)


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.1/24", "x", "fd00::/64", "10.0.0.0/8; }", ""])
def test_what_is_no_prefix_of_the_family_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        prefix(text, 4)


@pytest.mark.parametrize("text", ["fe80::1%eth0", "10.0.0.1", "::1 }", ""])
def test_what_is_no_address_of_the_family_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        address(text, 6)


def test_sessions_can_be_found_again_in_the_text(world: Any) -> None:
    plan = _mesh(world).plan("a").plan
    assert sorted(sessions_in(render(plan, LOG))) == [peer.name for peer in plan.peers]


def test_filters_stand_before_the_protocols_that_use_them(world: Any) -> None:
    text = render(_mesh(world).plan("a").plan, LOG)
    for name in re.findall(r"(?:import|export) filter (\w+)", text):
        assert text.index(f"filter {name} {{") < text.index(f" filter {name};")
