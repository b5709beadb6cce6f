from __future__ import annotations

from typing import Any

import pytest


def _codes(planned: Any) -> dict[str, str]:
    return {problem.object: problem.code for problem in planned.problems}


def _mesh_of_three(world: Any) -> Any:
    return (
        world.node("a", "10.0.0.2", "fd00::2").node("b", "10.0.0.10", "fd00::10").node("c", "10.0.0.3", asNumber=64999)
    )


def test_without_configuration_every_node_meshes_with_every_other_in_each_family_both_have(world: Any) -> None:
    _mesh_of_three(world)
    assert sorted(world.sessions("a")) == ["Mesh_10_0_0_10", "Mesh_10_0_0_3", "Mesh_fd00__10"]
    assert sorted(world.sessions("c")) == ["Mesh_10_0_0_10", "Mesh_10_0_0_2"]


def test_the_end_with_the_numerically_lower_address_listens(world: Any) -> None:
    _mesh_of_three(world)
    assert world.sessions("a")["Mesh_10_0_0_10"].passive
    assert not world.sessions("b")["Mesh_10_0_0_2"].passive, "as text 10.0.0.2 would be above 10.0.0.10"


def test_exactly_one_end_of_every_mesh_session_connects(world: Any) -> None:
    names = {f"n{i}": f"10.0.{i % 3}.{i * 7 + 1}" for i in range(12)}
    for name, address in names.items():
        world.node(name, address)
    sessions = {name: world.sessions(name) for name in names}
    for name, address in names.items():
        for other, far in names.items():
            if name != other:
                ours = sessions[name]["Mesh_" + far.replace(".", "_")]
                theirs = sessions[other]["Mesh_" + address.replace(".", "_")]
                assert ours.passive != theirs.passive


def test_a_mesh_peer_has_its_own_as_number_else_that_of_the_cluster(world: Any) -> None:
    _mesh_of_three(world).config(asNumber="1.10")
    sessions = world.sessions("c")
    assert (sessions["Mesh_10_0_0_2"].local_as, sessions["Mesh_10_0_0_2"].remote_as) == (64999, 65546)
    assert world.sessions("a")["Mesh_10_0_0_3"].remote_as == 64999


def test_the_mesh_can_be_switched_off_and_leaves_out_route_reflectors(world: Any) -> None:
    _mesh_of_three(world).node("r", "10.0.0.99", routeReflectorClusterID="224.0.0.1")
    assert "Mesh_10_0_0_99" not in world.sessions("a")
    assert world.sessions("r") == {}
    world.config(nodeToNodeMeshEnabled=False)
    assert world.sessions("a") == {}


def test_listen_ports_come_from_the_nodes_own_configuration_before_the_default(world: Any) -> None:
    _mesh_of_three(world).config(listenPort=1790).config("node.b", listenPort=1791)
    sessions = world.sessions("a")
    assert (sessions["Mesh_10_0_0_10"].port, sessions["Mesh_10_0_0_3"].port) == (1791, 1790)
    assert world.plan("b").plan.listen_port == 1791


def test_mesh_restart_time_is_rounded_to_seconds_and_limited_to_what_bgp_can_say(world: Any) -> None:
    _mesh_of_three(world).config(nodeMeshMaxRestartTime="1m30.5s")
    assert world.sessions("a")["Mesh_10_0_0_3"].restart_time_s == 91
    planned = world.config(nodeMeshMaxRestartTime="2h").plan("a")
    assert {peer.restart_time_s for peer in planned.plan.peers} == {4095}
    assert _codes(planned) == {"BGPConfiguration default": "bgp-value-adjusted"}


@pytest.mark.parametrize(
    ("peer_ip", "name", "address", "port"),
    [
        ("10.0.0.254", "Global_10_0_0_254", "10.0.0.254", None),
        ("10.0.0.254:1179", "Global_10_0_0_254_port_1179", "10.0.0.254", 1179),
        ("fd00::00fe", "Global_fd00__fe", "fd00::fe", None),
        ("[fd00::fe]:1179", "Global_fd00__fe_port_1179", "fd00::fe", 1179),
    ],
)
def test_a_global_peer_is_a_session_of_every_node(
    world: Any, peer_ip: str, name: str, address: str, port: int | None
) -> None:
    _mesh_of_three(world).config(nodeToNodeMeshEnabled=False).peer("tor", peerIP=peer_ip, asNumber=65000)
    session = world.sessions("a")[name]
    assert (session.address, session.port, session.type, session.passive) == (address, port, "GlobalPeer", False)
    assert (name in world.sessions("c")) == ("." in address), "c has no IPv6 address"


@pytest.mark.parametrize(
    ("local", "who"),
    [
        ({"node": "a"}, {"a"}),
        ({"nodeSelector": "rack == 'r1'"}, {"a", "b"}),
        ({"nodeSelector": "!has(rack)"}, {"c"}),
        ({}, {"a", "b", "c"}),
    ],
)
def test_the_local_side_is_a_node_a_selector_or_all(world: Any, local: dict[str, str], who: set[str]) -> None:
    world.config(nodeToNodeMeshEnabled=False)
    world.node("a", "10.0.0.1", labels={"rack": "r1"}).node("b", "10.0.0.2", labels={"rack": "r1"})
    world.node("c", "10.0.0.3").peer("tor", peerIP="10.0.0.254", asNumber=65000, **local)
    assert {name for name in "abc" if world.sessions(name)} == who


def _with_reflector(world: Any) -> Any:
    world.config(nodeToNodeMeshEnabled=False)
    world.node("a", "10.0.0.1", "fd00::1").node("b", "10.0.0.2", "fd00::2")
    return world.node("r", "10.0.0.9", "fd00::9", {"rr": ""}, routeReflectorClusterID="224.0.0.1")


def test_a_selector_peering_is_reversed_automatically_in_both_families(world: Any) -> None:
    _with_reflector(world).peer("rr", nodeSelector="!has(rr)", peerSelector="has(rr)")
    assert sorted(world.sessions("a")) == ["Node_10_0_0_9", "Node_fd00__9"]
    assert sorted(world.sessions("r")) == ["Node_10_0_0_1", "Node_10_0_0_2", "Node_fd00__1", "Node_fd00__2"]


def test_no_reverse_peering_is_made_where_it_is_manual(world: Any) -> None:
    _with_reflector(world).peer("rr", nodeSelector="!has(rr)", peerSelector="has(rr)", reversePeering="Manual")
    assert sorted(world.sessions("a")) == ["Node_10_0_0_9", "Node_fd00__9"]
    assert world.sessions("r") == {}


def test_a_peering_by_the_address_of_a_node_is_reversed_in_that_family_only_and_only_if_the_as_fits(world: Any) -> None:
    _with_reflector(world).peer("rr", node="a", peerIP="10.0.0.9", asNumber=64512)
    assert sorted(world.sessions("r")) == ["Node_10_0_0_1"]
    world.peer("rr", node="a", peerIP="10.0.0.9", asNumber=65000)
    assert world.sessions("r") == {}


def test_an_explicit_peering_wins_over_the_reverse_of_another(world: Any) -> None:
    _with_reflector(world).peer("rr", node="a", peerIP="10.0.0.9", asNumber=64512)
    world.peer("back", node="r", peerIP="10.0.0.1", asNumber=64512, keepaliveTime="7s")
    assert world.sessions("r")["Node_10_0_0_1"].keepalive_time_s == 7


def test_node_peers_never_listen_only_so_that_two_selected_ends_cannot_wait_for_each_other(world: Any) -> None:
    _with_reflector(world).peer("rr", nodeSelector="!has(rr)", peerSelector="has(rr)")
    assert not any(session.passive for name in "abr" for session in world.sessions(name).values())


def test_a_global_peer_that_is_a_node_above_us_is_waited_for_because_it_peers_back_actively(world: Any) -> None:
    _with_reflector(world).peer("rr", peerIP="10.0.0.9", asNumber=64512)
    assert world.sessions("a")["Global_10_0_0_9"].passive
    assert not world.sessions("r")["Node_10_0_0_1"].passive


@pytest.mark.parametrize(
    ("theirs", "as_number", "client"),
    [({}, 64512, True), ({"routeReflectorClusterID": "224.0.0.1"}, 64512, False),
     ({"routeReflectorClusterID": "224.0.0.2"}, 64512, True), ({"asNumber": 65001}, 65001, False)],
)  # fmt: skip
def test_a_reflector_reflects_to_peers_of_its_as_outside_its_cluster(
    world: Any, theirs: dict[str, Any], as_number: int, client: bool
) -> None:
    _with_reflector(world).node("x", "10.0.0.7", **theirs)
    world.peer("p", node="r", peerIP="10.0.0.7", asNumber=as_number)
    assert world.sessions("r")["Node_10_0_0_7"].rr_cluster_id == ("224.0.0.1" if client else None)


def test_a_global_peering_has_precedence_over_one_for_some_nodes_to_the_same_address(world: Any) -> None:
    world.node("a", "10.0.0.1").peer("every", peerIP="10.0.0.254", asNumber=65000)
    world.peer("another", node="a", peerIP="10.0.0.254", asNumber=65001)
    planned = world.plan("a")
    assert [(peer.name, peer.remote_as) for peer in planned.plan.peers] == [("Global_10_0_0_254", 65000)]
    assert _codes(planned) == {"BGPPeer another": "bgp-peering-shadowed"}


def test_an_explicit_peering_replaces_the_mesh_session_with_the_same_node(world: Any) -> None:
    _mesh_of_three(world).peer("special", node="a", peerIP="10.0.0.10", asNumber=64512)
    assert {"Node_10_0_0_10", "Mesh_10_0_0_3"} <= world.sessions("a").keys()
    assert "Mesh_10_0_0_10" not in world.sessions("a")


def test_no_node_peers_with_itself(world: Any) -> None:
    _mesh_of_three(world).peer("all", nodeSelector="all()", peerSelector="all()")
    assert sorted(world.sessions("a")) == ["Node_10_0_0_10", "Node_10_0_0_3", "Node_fd00__10"]


def test_the_port_of_a_node_is_known_without_being_written(world: Any) -> None:
    world.node("a", "10.0.0.1").node("b", "10.0.0.2").config("node.b", listenPort=1790)
    world.peer("b", node="a", peerIP="10.0.0.2", asNumber=64512)
    assert "Node_10_0_0_2_port_1790" in world.sessions("a")


@pytest.mark.parametrize(
    ("spec", "attribute", "value"),
    [
        ({"sourceAddress": "None"}, "source", None),
        ({"sourceAddress": "UseNodeIP"}, "source", "10.0.0.1"),
        ({"ttlSecurity": 1}, "ttl_security_hops", 1),
        ({"numAllowedLocalASNumbers": 3}, "allowed_local_as", 3),
        ({"maxRestartTime": "45s"}, "restart_time_s", 45),
        ({"keepaliveTime": "20.5s"}, "keepalive_time_s", 21),
        ({"localASNumber": 65010}, "local_as", 65010),
        ({"nextHopMode": "Self"}, "next_hop", "self"),
        ({"nextHopMode": "Keep"}, "next_hop", "keep"),
        ({"nextHopMode": "Auto"}, "next_hop", ""),
        ({"keepOriginalNextHop": True}, "next_hop", "keep"),
        ({"keepOriginalNextHop": True, "localASNumber": 65000}, "next_hop", ""),
    ],
)
def test_an_option_of_a_peer_reaches_its_session(world: Any, spec: dict[str, Any], attribute: str, value: Any) -> None:
    world.node("a", "10.0.0.1").peer("tor", peerIP="10.0.0.254", asNumber=65000, **spec)
    (session,) = world.sessions("a").values()
    assert getattr(session, attribute) == value


@pytest.mark.parametrize(
    ("spec", "code", "field"),
    [
        ({"password": {"secretKeyRef": {"name": "s", "key": "k"}}}, "bgp-password-unavailable", "spec.password"),
        ({"password": {}}, "bgp-resource-invalid", "spec.password.secretKeyRef"),
        ({"password": {"secretKeyRef": {"name": "../s", "key": "k"}}}, "bgp-resource-invalid", "secretKeyRef.name"),
        ({"password": {"secretKeyRef": {"name": "s", "key": ".."}}}, "bgp-resource-invalid", "secretKeyRef.key"),
        ({"password": {"secretKeyRef": {"name": "s"}}}, "bgp-resource-invalid", "secretKeyRef.key"),
        ({"filters": ["f"]}, "bgp-resource-invalid", "spec.filters"),
        ({"reachableBy": "fd00::3"}, "bgp-resource-invalid", "spec.reachableBy"),
        ({"reachableBy": "10.0.0.254"}, "bgp-resource-invalid", "spec.reachableBy"),
        ({"reachableBy": "a router"}, "bgp-resource-invalid", "spec.reachableBy"),
        (
            {"peerIP": "", "asNumber": 0, "peerSelector": "all()", "reachableBy": "10.0.0.3"},
            "bgp-resource-invalid",
            "spec.reachableBy",
        ),
        ({"localWorkloadSelector": "all()"}, "bgp-resource-invalid", "spec.localWorkloadSelector"),
        ({"peerIP": "", "localWorkloadSelector": "a =="}, "bgp-resource-invalid", "spec.localWorkloadSelector"),
        ({"peerIP": "", "localWorkloadSelector": "all()", "asNumber": 0}, "bgp-resource-invalid", "spec.asNumber"),
        ({"annotations": {"bgp.calico-network/bfd": "soon"}}, "bgp-resource-invalid", "annotations[bgp.calico"),
        ({"annotations": {"bgp.calico-network/bfd": "1ms"}}, "bgp-resource-invalid", "annotations[bgp.calico"),
        ({"annotations": {"bgp.calico-network/bfd": "1s x1"}}, "bgp-resource-invalid", "annotations[bgp.calico"),
        (
            {"peerIP": "10.0.9.254", "annotations": {"bgp.calico-network/bfd": "1s"}, "sourceAddress": "None"},
            "bgp-field-unsupported",
            "BFD",
        ),
        ({"annotations": {"bgp.calico-network/ipv4-over-ipv6": "yes"}}, "bgp-resource-invalid", "ipv4-over-ipv6"),
        ({"annotations": {"bgp.calico-network/interface": 'e"; }'}}, "bgp-resource-invalid", "/interface"),
        ({"annotations": {"bgp.calico-network/interface": "eth1"}}, "bgp-resource-invalid", "spec.peerIP"),
        ({"peerIP": "::"}, "bgp-resource-invalid", "spec.peerIP"),
        ({"asNumber": 0}, "bgp-resource-invalid", "spec.asNumber"),
        ({"asNumber": "x"}, "bgp-resource-invalid", "spec.asNumber"),
        ({"asNumber": 4294967296}, "bgp-resource-invalid", "spec.asNumber"),
        ({"peerIP": "10.0.0.254:0"}, "bgp-resource-invalid", "spec.peerIP"),
        ({"peerIP": "fe80::1"}, "bgp-resource-invalid", "spec.peerIP"),
        ({"peerIP": "224.0.0.5"}, "bgp-resource-invalid", "spec.peerIP"),
        ({"peerIP": '10.0.0.254"; }'}, "bgp-resource-invalid", "spec.peerIP"),
        ({"peerIP": ""}, "bgp-resource-invalid", "spec.peerIP"),
        ({"peerSelector": "all()"}, "bgp-resource-invalid", "spec.peerIP"),
        ({"node": "a", "nodeSelector": "all()"}, "bgp-resource-invalid", "spec.node"),
        ({"nodeSelector": "a =="}, "bgp-resource-invalid", "spec.nodeSelector"),
        ({"ttlSecurity": 0}, "bgp-resource-invalid", "spec.ttlSecurity"),
        ({"ttlSecurity": 256}, "bgp-resource-invalid", "spec.ttlSecurity"),
        ({"numAllowedLocalASNumbers": -1}, "bgp-resource-invalid", "spec.numAllowedLocalASNumbers"),
        ({"maxRestartTime": "soon"}, "bgp-resource-invalid", "spec.maxRestartTime"),
        ({"keepaliveTime": "7h"}, "bgp-resource-invalid", "spec.keepaliveTime"),
        ({"keepaliveTime": "0s"}, "bgp-resource-invalid", "spec.keepaliveTime"),
        ({"nextHopMode": "self; }"}, "bgp-resource-invalid", "spec.nextHopMode"),
        ({"sourceAddress": "Other"}, "bgp-resource-invalid", "spec.sourceAddress"),
        ({"localASNumber": 0}, "bgp-resource-invalid", "spec.localASNumber"),
    ],
)
def test_a_peering_that_cannot_be_honoured_is_stopped_and_says_why_and_blocks_no_other(
    world: Any, spec: dict[str, Any], code: str, field: str
) -> None:
    world.node("a", "10.0.0.1").peer("good", peerIP="10.0.0.253", asNumber=65000)
    world.peer("bad", **({"peerIP": "10.0.0.254", "asNumber": 65000} | spec))
    planned = world.plan("a")
    assert [peer.name for peer in planned.plan.peers] == ["Global_10_0_0_253"]
    (problem,) = planned.problems
    assert (problem.object, problem.code) == ("BGPPeer bad", code)
    assert field in problem.message


def test_a_stopped_peering_does_not_run_in_another_guise(world: Any) -> None:
    world.node("a", "10.0.0.1").node("b", "10.0.0.2")
    world.peer("secured", peerSelector="all()", password={"secretKeyRef": {"name": "s", "key": "k"}})
    assert world.sessions("a") == {}, "neither as a mesh session without the password"
    assert world.sessions("b") == {}, "nor as its own reverse"


@pytest.mark.parametrize(
    ("bgp", "gone"),
    [({"asNumber": "x"}, True), ({"asNumber": 0}, True), ({"routeReflectorClusterID": "one"}, True),
     ({"ipv4Address": "10.0.0.300/24"}, False), ({"ipv4Address": "127.0.0.1/8"}, False)],
)  # fmt: skip
def test_a_broken_node_costs_only_the_sessions_with_it(world: Any, bgp: dict[str, Any], gone: bool) -> None:
    world.node("a", "10.0.0.1", "fd00::1").node("b", "10.0.0.2", "fd00::2").node("c", "10.0.0.3", "fd00::3", **bgp)
    planned = world.plan("a")
    names = {peer.name for peer in planned.plan.peers}
    assert names == {"Mesh_10_0_0_2", "Mesh_fd00__2"} | (set() if gone else {"Mesh_fd00__3"})
    assert _codes(planned) == {"Node c": "bgp-resource-invalid"}


@pytest.mark.parametrize("own", [None, {}])
def test_a_host_without_bgp_in_its_node_has_no_sessions_and_says_so(world: Any, own: Any) -> None:
    world.node("b", "10.0.0.2").pool("p", "10.65.0.0/16")
    if own is not None:
        world.put("nodes", "a", own)
    planned = world.plan("a")
    assert planned.plan.peers == ()
    assert not planned.held
    assert _codes(planned) == {"Node a": "bgp-not-configured"}


@pytest.mark.parametrize(
    ("key", "value"),
    [("bgpconfigurations/default", "{"), ("nodes/a", "[]"), ("bgpconfigurations/default", '{"spec":{"asNumber":0}}')],
)
def test_what_everything_depends_on_must_be_readable_or_nothing_changes(world: Any, key: str, value: str) -> None:
    world.node("a", "10.0.0.1").node("b", "10.0.0.2")
    planned = world.put_raw(f"/calico/resources/v3/projectcalico.org/{key}", value).plan("a")
    assert planned.held
    assert planned.plan.peers == ()
    assert "bgp-config-held" in {problem.code for problem in planned.problems}


def test_an_unreadable_peer_or_foreign_node_is_named_and_holds_nothing(world: Any) -> None:
    world.node("a", "10.0.0.1").node("b", "10.0.0.2")
    world.put_raw("/calico/resources/v3/projectcalico.org/bgppeers/x", "garbage")
    world.put_raw("/calico/resources/v3/projectcalico.org/nodes/c", "garbage")
    planned = world.plan("a")
    assert [peer.name for peer in planned.plan.peers] == ["Mesh_10_0_0_2"]
    assert set(_codes(planned)) == {"BGPPeer x", "Node c"}


def test_pools_are_advertised_unless_disabled_or_told_not_to(world: Any) -> None:
    world.node("a", "10.0.0.1").pool("p1", "10.65.0.0/16").pool("p2", "10.66.0.0/16", disableBGPExport=True)
    world.pool("p3", "10.67.0.0/16", disabled=True).pool("p6", "fd65::/48", vxlanMode="Always")
    pools = {pool.cidr: (pool.family, pool.advertise, pool.program) for pool in world.plan("a").plan.pools}
    assert pools == {
        "10.65.0.0/16": (4, "always", True),
        "10.66.0.0/16": (4, "never", True),
        "10.67.0.0/16": (4, "by-block", True),
        "fd65::/48": (6, "always", False),
    }


def test_routes_of_tunnelled_pools_are_never_programmed_by_bird_and_a_wish_for_it_is_answered(world: Any) -> None:
    world.node("a", "10.0.0.1").pool("p", "10.65.0.0/16", ipipMode="Always").config(programClusterRoutes="Enabled")
    planned = world.plan("a")
    assert [pool.program for pool in planned.plan.pools] == [False]
    assert _codes(planned) == {"IPPool p": "bgp-encap-not-programmed"}


@pytest.mark.parametrize(
    ("value", "counts"),
    [('{"state":"confirmed","deleted":false}', True), ('{"state":""}', True), ("{}", True), ("", True),
     ('{"state":"pending"}', False), ('{"state":"pendingDeletion"}', False),
     ('{"state":"confirmed","deleted":true}', False), ("nonsense", False)],
)  # fmt: skip
def test_only_confirmed_affinities_are_blocks(world: Any, value: str, counts: bool) -> None:
    world.node("a", "10.0.0.1").block("a", "10.65.1.0/26", value).block("b", "10.65.2.0/26")
    assert [block.cidr for block in world.plan("a").plan.blocks] == (["10.65.1.0/26"] if counts else [])


def test_prefixes_carry_their_communities_by_number_or_name(world: Any) -> None:
    world.node("a", "10.0.0.1").config(
        communities=[{"name": "blue", "value": "65000:7:9"}],
        prefixAdvertisements=[
            {"cidr": "10.65.8.0/24", "communities": ["65000:1", "blue"]},
            {"cidr": "fd65::/64", "communities": ["blue"]},
            {"cidr": "10.65.8.0/24", "communities": ["65000:2"]},
        ],
    )
    planned = world.plan("a")
    assert [(item.cidr, item.communities) for item in planned.plan.advertised] == [
        ("10.65.8.0/24", ((65000, 1), (65000, 7, 9), (65000, 2))),
        ("fd65::/64", ((65000, 7, 9),)),
    ]
    assert planned.problems == ()


def test_a_nodes_own_prefixes_replace_the_clusters(world: Any) -> None:
    world.node("a", "10.0.0.1").config(prefixAdvertisements=[{"cidr": "10.65.8.0/24", "communities": ["1:1"]}])
    world.config("node.a", prefixAdvertisements=[{"cidr": "10.65.9.0/24", "communities": ["2:2"]}])
    assert [item.cidr for item in world.plan("a").plan.advertised] == ["10.65.9.0/24"]


@pytest.mark.parametrize("community", ["unknown", "65536:1", "1:2:3:4", ""])
def test_a_prefix_whose_community_is_unknown_is_withheld(world: Any, community: str) -> None:
    world.node("a", "10.0.0.1").config(prefixAdvertisements=[{"cidr": "10.65.8.0/24", "communities": [community]}])
    planned = world.plan("a")
    assert [item.cidr for item in planned.plan.withheld] == ["10.65.8.0/24"]
    assert _codes(planned) == {"BGPConfiguration default": "bgp-resource-invalid"}


def test_a_peering_uses_its_filters_in_their_order(world: Any) -> None:
    world.node("a", "10.0.0.1").filter("x", exportV4=[{"action": "Accept"}]).filter("y")
    world.peer("p", peerIP="10.0.0.9", asNumber=65001, filters=["y", "x"])
    planned = world.plan("a")
    assert [peer.filters for peer in planned.plan.peers] == [("y", "x")]
    assert [item.name for item in planned.plan.filters] == ["x", "y"]
    assert planned.problems == ()


@pytest.mark.parametrize(
    "rule",
    [
        {"action": "Maybe"},
        {"action": "Accept", "cidr": "10.0.0.0/8"},
        {"action": "Accept", "cidr": "10.0.0.1/8", "matchOperator": "In"},
        {"action": "Accept", "cidr": "fd00::/8", "matchOperator": "In"},
        {"action": "Accept", "cidr": "10.0.0.0/8", "matchOperator": "Near"},
        {"action": "Accept", "prefixLength": {"min": 9}},
        {"action": "Accept", "source": "Kernel"},
        {"action": "Accept", "interface": 'e"; accept; #'},
        {"action": "Accept", "peerType": "xBGP"},
        {"action": "Accept", "communities": {"values": []}},
        {"action": "Accept", "communities": {"values": ["1:2", "1:3"]}},
        {"action": "Accept", "communities": {"values": ["70000:1"]}},
        {"action": "Accept", "asPathPrefix": ["many"]},
        {"action": "Accept", "priority": 0},
        {"action": "Reject", "operations": [{"setPriority": {"value": 5}}]},
        {"action": "Accept", "operations": [{}]},
        {"action": "Accept", "operations": [{"prependASPath": {"prefix": []}}]},
        {"action": "Accept", "operations": [{"addCommunity": {"value": "a:b"}}]},
    ],
)
def test_peerings_with_an_unusable_filter_are_stopped_and_both_are_named(world: Any, rule: dict[str, Any]) -> None:
    world.node("a", "10.0.0.1").filter("bad", importV4=[rule])
    world.peer("p", peerIP="10.0.0.9", asNumber=65001, filters=["bad"])
    world.peer("other", peerIP="10.0.0.8", asNumber=65001)
    planned = world.plan("a")
    assert [peer.address for peer in planned.plan.peers] == ["10.0.0.8"]
    assert _codes(planned) == {"BGPFilter bad": "bgp-resource-invalid", "BGPPeer p": "bgp-resource-invalid"}
    assert any("spec.importV4[0]" in problem.message for problem in planned.problems)


def test_blocks_of_a_pool_that_cannot_be_read_are_withheld(world: Any) -> None:
    world.node("a", "10.0.0.1").pool("p", "10.65.0.0/16").block("a", "10.65.1.0/26").block("a", "10.66.1.0/26")
    world.put_raw("/calico/resources/v3/projectcalico.org/ippools/q", "garbage")
    assert [item.cidr for item in world.plan("a").plan.withheld] == ["10.66.1.0/26"]


def test_fields_that_count_only_in_default_are_named_when_they_stand_in_a_nodes_own(world: Any) -> None:
    world.node("a", "10.0.0.1").node("b", "10.0.0.2").config("node.a", asNumber=65000, nodeToNodeMeshEnabled=False)
    planned = world.plan("a")
    assert [peer.local_as for peer in planned.plan.peers] == [64512]
    assert [p.code for p in planned.problems] == ["bgp-field-ignored", "bgp-field-ignored"]


def test_an_ignored_interface_that_cannot_be_one_is_left_out_and_named(world: Any) -> None:
    world.node("a", "10.0.0.1").config(ignoredInterfaces=["eth9", 'x"; }', "docker*"])
    planned = world.plan("a")
    assert planned.plan.ignored_interfaces == ("eth9", "docker*")
    assert _codes(planned) == {"BGPConfiguration default": "bgp-resource-invalid"}


def test_the_router_id_is_the_ipv4_address_else_drawn_from_the_name(world: Any) -> None:
    world.node("a", "10.0.0.1").node("b", "", "fd00::2")
    assert world.plan("a").plan.router_id == "10.0.0.1"
    assert world.plan("b").plan.router_id == world.plan("b").plan.router_id != world.plan("c").plan.router_id


def test_turns_of_nodes_that_have_sessions_with_each_other_differ(world: Any) -> None:
    _mesh_of_three(world)
    assert sorted(world.plan(name).turn for name in "abc") == [0, 1, 2]


def test_the_plan_depends_on_the_last_values_only(new_world: Any) -> None:
    direct = _mesh_of_three(new_world()).config(asNumber=65000).plan("a")
    long_way = _mesh_of_three(new_world().config(asNumber=1).node("z", "10.0.0.77")).config(asNumber=65000)
    long_way.put_raw("/calico/resources/v3/projectcalico.org/nodes/z", None)
    assert long_way.plan("a") == direct
