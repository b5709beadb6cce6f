"""ADD and DEL through the installed plugin and the daemon, on a host with a real Felix."""

from __future__ import annotations

import pytest
from cni_world import NOTHING, World


def test_a_container_is_attached_and_detached_without_a_trace(world: World) -> None:
    container = world.container()
    answer = container.add(ipam={"type": "calico-ipam", "assign_ipv6": "true"})
    host, inner = answer.document["interfaces"]
    assert host["name"] == f"cali{container.identity[:11]}"
    assert inner["name"] == "eth0"
    assert inner["sandbox"] == container.path
    assert container.addresses == {answer.address(4), answer.address(6)}
    world.check_addresses()
    (endpoint,) = world.endpoints.values()
    assert endpoint["spec"]["ipNetworks"] == [f"{answer.address(4)}/32", f"{answer.address(6)}/128"]
    assert endpoint["spec"]["mac"] == inner["mac"]
    assert endpoint["spec"]["profiles"] == ["net"]
    assert world.status["endpoints"] == {f"default/node1-cni-{container.identity}-eth0": "up"}
    assert world.handles == {f"net.{container.identity}"}
    assert container.delete().text == ""
    assert world.leftovers == NOTHING


@pytest.mark.parametrize("family", [4, 6])
def test_the_first_packet_after_add_passes(world: World, family: int) -> None:
    both = {"type": "calico-ipam", "assign_ipv6": "true"}
    first, second = world.container(), world.container()
    there = second.add(ipam=both)
    with second.receives(7000, family) as receiver:
        first.add(ipam=both)
        assert first.sends_datagram(there.address(family), 7000, receiver)
    first.delete()
    second.delete()
    assert world.leftovers == NOTHING


def test_policy_between_two_containers_of_a_host_is_obeyed_by_their_first_packets(world: World) -> None:
    client, server = world.container(), world.container()
    address = server.add().address()
    spec = {"selector": "projectcalico.org/orchestrator == 'cni'", "types": ["Ingress"], "order": 1,
            "ingress": [{"action": "Allow", "protocol": "UDP", "destination": {"ports": [7001]}}]}  # fmt: skip
    world.policy("only-7001", spec)
    try:
        client.add()
        with server.receives(7001) as allowed, server.receives(7002, timeout_s=0.5) as denied:
            assert client.sends_datagram(address, 7001, allowed)
            assert not client.sends_datagram(address, 7002, denied)
    finally:
        assert world.calico("delete", "gnp", "only-7001").returncode == 0
    client.delete()
    server.delete()


def test_containers_of_different_networks_do_not_reach_one_another_by_default(world: World) -> None:
    one, other = world.container(), world.container()
    address = one.add(name="blue").address()
    other.add(name="red")
    with one.receives(7000, timeout_s=0.5) as receiver:
        assert not other.sends_datagram(address, 7000, receiver)
    one.delete(name="blue")
    other.delete(name="red")
    assert world.leftovers == NOTHING


def test_delete_again_and_of_what_never_was_succeeds(world: World) -> None:
    container = world.container()
    container.add()
    for _ in range(2):
        container.delete()
    world.container().delete()
    assert world.leftovers == NOTHING


def test_a_container_whose_namespace_is_gone_is_detached(world: World) -> None:
    container = world.container()
    container.add()
    world.end_container(container)
    container.delete()
    assert world.leftovers == NOTHING
    other = world.container()
    other.add()
    other.delete(netns="")
    assert world.leftovers == NOTHING


def test_adding_what_is_attached_is_an_error_and_changes_nothing(world: World) -> None:
    container = world.container()
    before = container.add()
    again = container.call("ADD")
    assert again.error == 100
    assert "is attached already, by interface eth0" in again.message
    assert container.addresses == {before.address()}
    assert world.allocated == 1
    container.delete()


def test_somebody_elses_interface_in_the_container_is_left_alone(world: World) -> None:
    container = world.container()
    world.ip(container.netns, "link add eth0 type bridge")
    refused = container.call("ADD")
    assert refused.error == 100
    assert world.leftovers == NOTHING
    world.ip(container.netns, "link show eth0")


def test_two_containers_whose_ids_begin_alike_do_not_take_each_others_interface(world: World) -> None:
    first, second = world.container("aaaaaaaaaaaaaaaa1"), world.container("aaaaaaaaaaaaaaaa2")
    first.add()
    refused = second.call("ADD")
    assert refused.error == 100
    assert "caliaaaaaaaaaaa" in refused.message
    assert "aaaaaaaaaaaaaaaa1" in refused.message
    second.delete()
    assert world.cables == {"caliaaaaaaaaaaa"}
    assert len(first.addresses) == 1
    first.delete()
    assert world.leftovers == NOTHING


def test_an_address_that_is_asked_for_is_given_once(world: World) -> None:
    first, second, third = world.container(), world.container(), world.container()
    assert first.add(args="IP=10.77.0.77").address() == "10.77.0.77"
    refused = second.call("ADD", args="IP=10.77.0.77")
    assert refused.error == 102
    assert "10.77.0.77" in refused.message
    assert second.call("ADD", args="IP=192.0.2.1").error == 7
    asked = third.add(runtimeConfig={"ips": ["10.77.0.78/24"], "mac": "02:00:00:00:00:77"})
    assert asked.address() == "10.77.0.78"
    assert asked.document["interfaces"][1]["mac"] == "02:00:00:00:00:77"
    for container in (first, second, third):
        container.delete()
    assert world.leftovers == NOTHING


def test_a_pod_of_kubernetes_has_its_names_labels_and_profiles(world: World) -> None:
    container = world.container()
    args = container.pod("web-0", "shop")
    answer = container.add(args=args, policy={"type": "k8s"})
    assert answer.document["interfaces"][0]["name"] == "cali" + _hash("shop.web-0")
    endpoint = world.endpoints["node1-k8s-web--0-eth0"]
    assert endpoint["metadata"]["namespace"] == "shop"
    assert endpoint["metadata"]["labels"]["projectcalico.org/namespace"] == "shop"
    assert endpoint["metadata"]["labels"]["projectcalico.org/orchestrator"] == "k8s"
    assert endpoint["spec"]["profiles"] == ["kns.shop"]
    assert endpoint["spec"]["pod"] == "web-0"
    container.delete(args=args, policy={"type": "k8s"})
    assert world.leftovers == NOTHING


def test_deleting_an_old_sandbox_leaves_the_new_one_of_the_same_pod_alone(world: World) -> None:
    old, new = world.container(), world.container()
    args = old.pod("web-0")
    old.add(args=args)
    fresh = new.add(args=args)
    assert world.allocated == 2
    old.delete(args=args)
    assert world.allocated == 1
    assert new.addresses == {fresh.address()}
    (endpoint,) = world.endpoints.values()
    assert endpoint["spec"]["containerID"] == new.identity
    assert len(world.cables) == 1
    new.delete(args=args)
    assert world.leftovers == NOTHING


def test_an_exhausted_pool_is_named_and_leaves_nothing(world: World) -> None:
    world.put("IPPool", "ippools", "tiny", {"cidr": "10.78.0.0/32", "blockSize": 32, "assignmentMode": "Manual"})
    tiny = {"type": "calico-ipam", "ipv4_pools": ["10.78.0.0/32"]}
    first, second = world.container(), world.container()
    try:
        assert first.add(ipam=tiny).address() == "10.78.0.0"
        refused = second.call("ADD", ipam=tiny)
        assert refused.error == 102
        assert "tiny" in refused.message
        assert world.handles == {f"net.{first.identity}"}
        first.delete(ipam=tiny)
        assert second.add(ipam=tiny).address() == "10.78.0.0"
        second.delete(ipam=tiny)
    finally:
        done = world.calico("delete", "ippool", "tiny")
        assert done.returncode == 0, done.stderr
    assert world.leftovers == NOTHING


def test_a_pool_that_is_not_there_is_named(world: World) -> None:
    refused = world.container().call("ADD", ipam={"type": "calico-ipam", "ipv4_pools": ["nowhere"]})
    assert refused.error == 7
    assert "IPPool nowhere" in refused.message
    assert world.leftovers == NOTHING


def test_a_locked_datastore_is_to_be_tried_again_and_nothing_is_touched(world: World) -> None:
    attached, late = world.container(), world.container()
    attached.add()
    before = world.leftovers
    world.set_ready(False)
    for answer in (late.call("ADD"), attached.call("DEL")):
        assert answer.error == 11
        assert "the datastore is locked" in answer.message
    assert world.leftovers == before
    world.set_ready(True)
    attached.delete()
    assert world.leftovers == NOTHING


def test_a_second_interface_keeps_its_address_when_the_first_goes(world: World) -> None:
    container = world.container()
    container.add()
    second = container.add(ifname="net1")
    assert len(world.endpoints) == 2
    container.delete()
    assert world.allocated == 1
    assert second.address() in str(world.endpoints)
    container.delete(ifname="net1")
    assert world.leftovers == NOTHING


def _hash(text: str) -> str:
    import hashlib

    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:11]
