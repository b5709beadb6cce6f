"""How a session reaches its far end: gateways, links, IPv6 sessions for IPv4 routes, BFD, WireGuard."""

from __future__ import annotations

from typing import Any

import pytest

from calico.bgp.birdconf.difference import Effect, compare
from calico.bgp.birdconf.render import render
from calico.bgp.planning.birdplan import BfdPlan, ReachPlan
from calico.bgp.planning.peerannotations import MAX_PREFIXES

OVER = {"bgp.calico-network/ipv4-over-ipv6": "true"}
ON_ETH1 = {"bgp.calico-network/interface": "eth1"}


def _text(world: Any, node: str = "a") -> str:
    return render(world.plan(node).plan, "/log")


def test_a_far_end_behind_a_gateway_has_a_route_of_its_own_that_is_told_to_nobody(
    world: Any, bird_refusal: Any
) -> None:
    world.node("a", "10.0.0.1", "fd00::1").peer("p", peerIP="10.9.9.9", asNumber=65000, reachableBy="10.0.0.254")
    world.peer("q", peerIP="fd09::9", asNumber=65000, reachableBy="fd00::fe")
    plan = world.plan("a").plan
    assert plan.reach == (ReachPlan(4, "10.9.9.9", "10.0.0.254"), ReachPlan(6, "fd09::9", "fd00::fe"))
    text = _text(world)
    assert "protocol static reach4 {\n  ipv4;\n  route 10.9.9.9/32 via 10.0.0.254;\n}" in text
    assert "route fd09::9/128 via fd00::fe;" in text
    assert '  if proto = "reach4" then reject;' in text
    assert bird_refusal(text) == ""


def test_the_gateway_itself_and_the_reverse_side_need_no_such_route(world: Any) -> None:
    world.node("a", "10.0.0.1").node("g", "10.0.0.254").node("r", "10.9.9.9").config(nodeToNodeMeshEnabled=False)
    world.peer("p", peerIP="10.9.9.9", asNumber=64512, reachableBy="10.0.0.254")
    assert [len(world.plan(name).plan.reach) for name in "agr"] == [1, 0, 0]
    assert sorted(world.sessions("r")) == ["Node_10_0_0_1", "Node_10_0_0_254"]


def test_the_gateway_of_a_stopped_peering_is_not_used(world: Any) -> None:
    world.node("a", "10.0.0.1")
    world.peer("p", peerIP="10.9.9.9", asNumber=65000, reachableBy="10.0.0.254", filters=["absent"])
    assert world.plan("a").plan.reach == ()


def test_a_change_of_gateway_resets_nothing(new_world: Any) -> None:
    texts = []
    for gateway in ("10.0.0.254", "10.0.0.253"):
        world = new_world().node("a", "10.0.0.1")
        texts.append(_text(world.peer("p", peerIP="10.9.9.9", asNumber=65000, reachableBy=gateway)))
    assert compare(*texts).effect is Effect.SOFT


def _one_without_ipv4(world: Any, **config: Any) -> Any:
    world.config(**config)
    return world.node("a", "10.0.0.1", "fd00::1").node("b", "10.0.0.2", "fd00::2").node("c", "", "fd00::3")


def test_a_node_without_ipv4_has_no_ipv4_routes_unless_they_are_asked_for(world: Any) -> None:
    sessions = _one_without_ipv4(world).sessions("a")
    assert {name: session.families for name, session in sessions.items()} == {
        "Mesh_10_0_0_2": (4,),
        "Mesh_fd00__2": (6,),
        "Mesh_fd00__3": (6,),
    }


def test_asked_for_in_the_mesh_ipv4_goes_over_ipv6_only_where_one_end_lacks_ipv4(world: Any, bird_refusal: Any) -> None:
    _one_without_ipv4(world, annotations=OVER)
    assert {name: session.families for name, session in world.sessions("a").items()} == {
        "Mesh_10_0_0_2": (4,),
        "Mesh_fd00__2": (6,),
        "Mesh_fd00__3": (4, 6),
    }
    assert {session.families for session in world.sessions("c").values()} == {(4, 6)}
    text = _text(world, "c")
    assert text.count("extended next hop on;") == 2
    assert bird_refusal(text) == ""


def test_asked_for_in_a_peering_every_ipv6_session_of_it_carries_both_and_replaces_the_ipv4_session(world: Any) -> None:
    _one_without_ipv4(world).peer("all", OVER, peerSelector="all()")
    assert {name: session.families for name, session in world.sessions("a").items()} == {
        "Global_fd00__2": (4, 6),
        "Global_fd00__3": (4, 6),
    }


def test_a_peering_with_one_ipv6_address_can_carry_ipv4(world: Any) -> None:
    world.node("a", "10.0.0.1", "fd00::1").peer("tor", OVER, peerIP="fd00::9", asNumber=65000)
    (session,) = world.sessions("a").values()
    assert session.families == (4, 6)


def test_asked_of_a_session_over_ipv4_it_has_no_effect_and_that_is_said(world: Any) -> None:
    planned = world.node("a", "10.0.0.1").peer("tor", OVER, peerIP="10.0.0.9", asNumber=65000).plan("a")
    assert [peer.families for peer in planned.plan.peers] == [(4,)]
    assert [problem.code for problem in planned.problems] == ["bgp-field-ignored"]


def test_the_filters_of_a_peering_hold_for_both_families(world: Any, bird_refusal: Any) -> None:
    world.filter("f", exportV4=[{"action": "Reject"}], exportV6=[{"action": "Accept"}])
    world.node("a", "10.0.0.1", "fd00::1").peer("tor", OVER, peerIP="fd00::9", asNumber=65000, filters=["f"])
    text = _text(world)
    assert "'bgp_f_exportFilterV4'(false);" in text
    assert "'bgp_f_exportFilterV6'(false);" in text
    assert bird_refusal(text) == ""


def test_a_link_local_far_end_is_on_the_interface_that_an_annotation_names(world: Any, bird_refusal: Any) -> None:
    both = {**ON_ETH1, **OVER}
    world.node("a", "10.0.0.1").peer("tor", both, node="a", peerIP="fe80::9", asNumber=65000, ttlSecurity=1)
    (session,) = world.sessions("a").values()
    assert (session.name, session.interface, session.direct) == ("Node_fe80__9_on_eth1", "eth1", True)
    assert (session.source, session.families) == (None, (4, 6))
    text = _text(world)
    assert '  neighbor fe80::9 as 65000;\n  interface "eth1";\n  direct;\n  ttl security on;' in text
    assert "gateway recursive" not in text
    assert bird_refusal(text) == ""


def test_links_are_told_apart(world: Any) -> None:
    world.node("a", "10.0.0.1")
    for number in (1, 2):
        link = {"bgp.calico-network/interface": f"eth{number}"}
        world.peer(f"tor{number}", link, node="a", peerIP="fe80::9", asNumber=65000)
    assert sorted(world.sessions("a")) == ["Node_fe80__9_on_eth1", "Node_fe80__9_on_eth2"]


def test_whoever_is_on_a_link_can_open_a_session(world: Any, bird_refusal: Any) -> None:
    world.node("a", "10.0.0.1").peer("tor", {**ON_ETH1, **OVER}, node="a", peerIP="::", asNumber=65000)
    text = _text(world)
    assert "protocol bgp Node_any_on_eth1 {" in text
    assert 'neighbor range fe80::/10 as 65000;\n  interface "eth1";\n  dynamic name "Node_any_on_eth1_";' in text
    assert bird_refusal(text) == ""


def test_routers_on_links_are_told_that_a_peer_is_there_and_are_offered_nothing(world: Any, bird_refusal: Any) -> None:
    world.node("a", "10.0.0.1").peer("one", {**ON_ETH1, **OVER}, node="a", peerIP="::", asNumber=65000)
    world.peer("two", {"bgp.calico-network/interface": "eth0"}, node="a", peerIP="fe80::9", asNumber=65000)
    text = _text(world)
    protocol = text.partition("protocol radv radv_links {\n")[2].partition("\n}\n")[0].splitlines()
    assert [line.split()[1] for line in protocol] == ['"eth0"', '"eth1"']
    assert all("default lifetime 0; current hop limit 0; prefix ::/0 { skip; };" in line for line in protocol)
    assert bird_refusal(text) == ""


def test_without_peers_on_links_nothing_is_advertised_to_routers(world: Any) -> None:
    world.node("a", "10.0.0.1").peer("one", peerIP="10.0.0.9", asNumber=65000)
    assert "radv" not in _text(world)


def test_a_peer_on_a_link_that_comes_resets_no_other(new_world: Any) -> None:
    texts = []
    for links in ((), ("eth1",), ("eth1", "eth2")):
        world = new_world().node("a", "10.0.0.1").node("b", "10.0.0.2")
        for link in links:
            world.peer(link, {"bgp.calico-network/interface": link}, node="a", peerIP="::", asNumber=65000)
        texts.append(_text(world))
    assert compare(texts[0], texts[1]).effect is Effect.SOFT
    assert compare(texts[1], texts[2]).effect is Effect.SOFT


def test_a_session_that_was_accepted_is_reset_with_the_protocol_that_accepted_it(new_world: Any) -> None:
    texts = [
        _text(new_world().node("a", "10.0.0.1").peer("tor", ON_ETH1, node="a", peerIP="::", asNumber=number))
        for number in (65000, 65001)
    ]
    difference = compare(*texts)
    assert difference.resets_session("Node_any_on_eth1_1")
    assert not difference.resets_session("Node_any_on_eth2_1")


def test_links_exclude_listening_on_node_addresses(world: Any) -> None:
    world.node("a", "10.0.0.1").config(bindMode="NodeIP")
    planned = world.peer("tor", ON_ETH1, node="a", peerIP="fe80::9", asNumber=65000).plan("a")
    assert planned.plan.peers == ()
    assert [problem.code for problem in planned.problems] == ["bgp-field-unsupported"]


@pytest.mark.parametrize("address", ["fe80::", "fe80:1::1", "fd00::1", "10.0.0.9", "fe80::1%eth1", "[fe80::1]:0"])
def test_what_is_no_link_local_address_is_no_far_end_on_a_link(world: Any, address: str) -> None:
    planned = world.node("a", "10.0.0.1").peer("tor", ON_ETH1, peerIP=address, asNumber=65000).plan("a")
    assert planned.plan.peers == ()
    assert [problem.code for problem in planned.problems] == ["bgp-resource-invalid"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("100ms", BfdPlan(100, 3)), ("1s x5", BfdPlan(1000, 5)), ("300ms*10", BfdPlan(300, 10)), ("off", None)],
)
def test_bfd_is_an_interval_and_how_many_packets_may_be_missing(world: Any, text: str, wanted: Any) -> None:
    world.node("a", "10.0.0.1").peer("tor", {"bgp.calico-network/bfd": text}, peerIP="10.9.0.9", asNumber=65000)
    (session,) = world.sessions("a").values()
    assert (session.bfd, session.source, session.direct) == (wanted, "10.0.0.1", False)


@pytest.mark.parametrize(
    ("address", "spec", "direct"),
    [("10.0.0.9", {}, True), ("10.0.0.9", {"ttlSecurity": 1}, True), ("10.0.0.9", {"ttlSecurity": 2}, False),
     ("10.0.1.9", {}, False), ("10.0.0.9", {"sourceAddress": "None"}, True)],
)  # fmt: skip
def test_bfd_with_a_neighbour_in_the_nodes_subnet_is_that_of_one_hop(
    world: Any, bird_refusal: Any, address: str, spec: Any, direct: bool
) -> None:
    world.node("a", "10.0.0.1")
    world.peer("tor", {"bgp.calico-network/bfd": "100ms"}, peerIP=address, asNumber=65000, **spec)
    (session,) = world.sessions("a").values()
    assert session.direct == direct
    text = _text(world)
    assert "protocol bfd bfd_all { }" in text
    assert "  bfd { interval 100 ms; multiplier 3; };" in text
    assert bird_refusal(text) == ""


def test_the_mesh_can_have_bfd_and_a_wish_that_cannot_be_read_leaves_it_without(world: Any) -> None:
    world.node("a", "10.0.0.1").node("b", "10.0.0.2").config(annotations={"bgp.calico-network/bfd": "200ms"})
    assert world.sessions("a")["Mesh_10_0_0_2"].bfd == BfdPlan(200, 3)
    planned = world.config(annotations={"bgp.calico-network/bfd": "quick"}).plan("a")
    assert [peer.bfd for peer in planned.plan.peers] == [None]
    assert [problem.code for problem in planned.problems] == ["bgp-resource-invalid"]


def test_routes_to_nodes_that_wireguard_leads_to_are_left_to_felix(world: Any, bird_refusal: Any) -> None:
    for number, name in enumerate("abc", 1):
        bgp = {"bgp": {"ipv4Address": f"10.0.0.{number}/24"}}
        world.put("nodes", name, {**bgp, "wireguard": {"interfaceIPv4Address": "10.1.1.1"} if name != "c" else {}})
    text = _text(world)
    assert "  if defined(bgp_next_hop) then if bgp_next_hop = 10.0.0.2 then reject;" in text
    assert "bgp_next_hop = 10.0.0.3" not in text
    assert "defined(bgp_next_hop)" not in _text(world, "c")
    assert bird_refusal(text) == ""


def test_an_interface_too_strange_for_a_name_still_makes_one(world: Any, bird_refusal: Any) -> None:
    link = {"bgp.calico-network/interface": "bond0.100@a-b"}
    world.node("a", "10.0.0.1")
    world.peer("tor", link, node="a", peerIP="[fe80::ffff:ffff:ffff:fff1]:65535", asNumber=65000)
    text = _text(world)
    assert "Node_fe80__ffff_ffff_ffff_fff1_on_bond0_100_a_b_port_65535 {" in text
    assert bird_refusal(text) == ""


def test_a_limit_of_prefixes_is_one_of_each_session_and_changes_none(world: Any, bird_refusal: Any) -> None:
    world.node("a", "10.0.0.1").peer("tor", {MAX_PREFIXES: "100"}, peerIP="10.0.0.9", asNumber=65000)
    text = _text(world)
    assert "receive limit 100 action restart;" in text
    assert bird_refusal(text) == ""
    more = _text(world.peer("tor", {MAX_PREFIXES: "200"}, peerIP="10.0.0.9", asNumber=65000))
    assert more != text
    assert not compare(text, more).resets


@pytest.mark.parametrize("text", ["0", "-1", "many", "1e3", "4294967296", "٣"])
def test_a_limit_that_is_no_number_stops_its_peering(world: Any, text: str) -> None:
    world.node("a", "10.0.0.1").peer("tor", {MAX_PREFIXES: text}, peerIP="10.0.0.9", asNumber=65000)
    planned = world.plan("a")
    assert planned.plan.peers == ()
    (problem,) = planned.problems
    assert "max-prefixes" in problem.message
