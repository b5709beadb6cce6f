from __future__ import annotations

from typing import Any

import pytest

from calico.bgp.birdconf.difference import compare
from calico.bgp.birdconf.render import render
from calico.bgp.planning.localendpoints import is_local_key

KEY = "/calico/resources/v3/projectcalico.org/workloadendpoints/"


def _world(world: Any, **config: Any) -> Any:
    world.node("a", "10.0.0.1", "fd00::1").node("b", "10.0.0.2").config(**config)
    world.endpoint("a", "w1", "10.65.1.1/32", "fd65::1/128", labels={"role": "router"})
    world.endpoint("a", "w2", "10.65.1.2/32", labels={"role": "web"})
    world.endpoint("b", "w3", "10.65.2.3/32", labels={"role": "router"})
    return world.peer("routers", localWorkloadSelector="role == 'router'", asNumber=64900)


def test_local_workloads_that_are_selected_are_peers_which_must_open_the_session(world: Any) -> None:
    sessions = _world(world, nodeToNodeMeshEnabled=False).sessions("a")
    assert sorted(sessions) == ["Local_Workload_10_65_1_1", "Local_Workload_fd65__1"]
    for session in sessions.values():
        assert (session.type, session.passive, session.source) == ("LocalWorkload", True, None)
        assert (session.remote_as, session.local_as) == (64900, 64512)


def test_such_a_peering_is_never_reversed_and_hosts_ask_for_endpoints_only_when_they_need_them(world: Any) -> None:
    _world(world).peer("routers", localWorkloadSelector="all()", asNumber=64900, node="a")
    assert world.plan("a").needs_endpoints
    assert not world.plan("b").needs_endpoints
    assert sorted(world.sessions("b")) == ["Mesh_10_0_0_1"]


def test_an_endpoint_that_goes_or_loses_its_label_takes_its_session_along(world: Any) -> None:
    _world(world, nodeToNodeMeshEnabled=False).endpoint("a", "w1", "10.65.1.1/32", labels={"role": "web"})
    assert world.sessions("a") == {}
    world.endpoint("a", "w1", "10.65.1.1/32", labels={"role": "router"})
    assert sorted(world.sessions("a")) == ["Local_Workload_10_65_1_1"]
    world.put_raw(f"{KEY}default/a-lab-w1-eth0", None)
    assert world.sessions("a") == {}


def test_an_endpoint_whose_object_names_another_node_or_cannot_be_read_is_no_peer(world: Any) -> None:
    _world(world, nodeToNodeMeshEnabled=False)
    world.put_raw(f"{KEY}default/a-lab-w1-eth0", '{"spec":{"node":"b","ipNetworks":["10.65.1.1/32"]}}')
    assert world.sessions("a") == {}
    world.put_raw(f"{KEY}default/a-lab-w1-eth0", "garbage")
    assert world.sessions("a") == {}


def test_networks_and_addresses_that_no_session_can_have_are_passed_over(world: Any) -> None:
    _world(world, nodeToNodeMeshEnabled=False)
    world.endpoint("a", "w1", "10.65.9.0/24", "fe80::1%x/128", "224.0.0.5/32", "x", labels={"role": "router"})
    assert world.sessions("a") == {}


def test_a_reflector_reflects_to_local_workloads_of_its_as(world: Any) -> None:
    _world(world, nodeToNodeMeshEnabled=False).node("a", "10.0.0.1", routeReflectorClusterID="1.1.1.1")
    world.peer("routers", localWorkloadSelector="all()", asNumber=64512)
    assert {session.rr_cluster_id for session in world.sessions("a").values()} == {"1.1.1.1"}


def test_where_birds_listen_on_node_addresses_workloads_need_the_address_that_is_theirs(world: Any) -> None:
    planned = _world(world, bindMode="NodeIP", nodeToNodeMeshEnabled=False).plan("a")
    assert planned.plan.peers == ()
    assert {(p.object, p.code) for p in planned.problems} == {("BGPPeer routers", "bgp-field-unsupported")}
    _world(world, bindMode="NodeIP", localWorkloadPeeringIPV4="169.254.7.7", nodeToNodeMeshEnabled=False)
    (session,) = world.sessions("a").values()
    assert (session.family, session.source, session.free_bind) == (4, "169.254.7.7", True)


def test_bird_accepts_local_workloads_and_what_they_say_goes_to_other_hosts_as_reached_through_this_one(
    world: Any, bird_refusal: Any
) -> None:
    text = render(_world(world).plan("a").plan, "/log")
    assert 'if proto ~ "Local_Workload_*" then bgp_next_hop = 10.0.0.1;' in text
    assert "filter to_internal4 { rank4(); own4(); to_peers4(true); }" in text
    assert bird_refusal(text) == ""
    _world(world, bindMode="NodeIP", localWorkloadPeeringIPV4="169.254.7.7")
    assert bird_refusal(render(world.plan("a").plan, "/log")) == ""


def test_workloads_that_come_and_go_leave_other_sessions_alone(new_world: Any) -> None:
    old, new = _world(new_world()), _world(new_world()).endpoint("a", "w9", "10.65.1.9/32", labels={"role": "router"})
    difference = compare(*(render(each.plan("a").plan, "/log") for each in (old, new)))
    assert difference.added == {"Local_Workload_10_65_1_9"}
    assert difference.resets == frozenset()


@pytest.mark.parametrize(
    ("name", "host", "local"),
    [("ns/a-lab-w-eth0", "a", True), ("ns/a--b-lab-w-eth0", "a", False), ("ns/a--b-lab-w-eth0", "a-b", True),
     ("ns/ab-lab-w-eth0", "a", False), ("a-lab-w-eth0", "a", False), ("ns/a", "a", True), ("ns/-", "a", False)],
)  # fmt: skip
def test_a_key_tells_whose_endpoint_it_is(name: str, host: str, local: bool) -> None:
    assert is_local_key(KEY + name, host) == local
    assert not is_local_key(f"/calico/resources/v3/projectcalico.org/networkpolicies/{name}", host)
