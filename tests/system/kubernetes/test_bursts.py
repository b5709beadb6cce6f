"""Bursts and faults: the end is what a computation from nothing would make, and no address is lost."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest

from calico.lab.probe.matrix import Probe, Target
from calico.lab.topology import parse_topology
from cluster.burst import NAMESPACE, end_all, leaks, policies, recomputed, run_all, state
from cluster.network import Network
from cluster.plain import PlainPod
from netpol.cases import wrong
from stack.process import until

LAB = "kburst"
POOLS = [{"cidr": "10.65.0.0/16"}, {"cidr": "fd00:65::/64"}]
TOPOLOGY = {"name": LAB, "pools": POOLS, "hosts": [{"name": f"node{number}"} for number in (1, 2, 3)]}
PODS, POLICIES, CALLERS = 40, 60, 8
GROUP = "/apis/networking.k8s.io/v1/namespaces/burst/networkpolicies"
pytestmark = [
    pytest.mark.lab, pytest.mark.kubernetes, pytest.mark.timeout(300), pytest.mark.xdist_group("kubernetes")
]  # fmt: skip


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network(parse_topology(json.dumps(TOPOLOGY))) as made:
        made.plane.add_namespace(NAMESPACE)
        yield made


def _probe(network: Network, src: str, dst: str, port: int) -> tuple[list[Target], Probe]:
    pods = {name: network.pods[f"{NAMESPACE}-{name}"] for name in (src, dst)}
    targets = [Target(name=name, netns=pod.netns, addresses=pod.addresses) for name, pod in pods.items()]
    return targets, Probe(src=src, dst=dst, protocol="TCP", port=port, family=4)


def test_a_burst_in_which_the_controllers_and_the_api_server_die_ends_as_if_it_were_computed_from_nothing(
    network: Network,
) -> None:
    api = network.plane.api

    def write() -> None:
        for number, policy in enumerate(policies(POLICIES)):
            api.create(GROUP, policy)
            if number == POLICIES // 3:
                network.controllers.kill()
            if number == POLICIES // 2:
                network.controllers.start()

    writer = threading.Thread(target=write)
    writer.start()
    run_all(network, PODS, CALLERS, ["node1", "node2"])
    writer.join()
    network.plane.kill("kube-apiserver")
    network.plane.start("kube-apiserver")
    for number in range(0, POLICIES, 4):
        api.delete(f"{GROUP}/p{number}")
    network.settle(60)
    after = state(network)
    assert len([key for key in after if "/knp.default.p" in key]) == POLICIES - POLICIES // 4
    assert recomputed(network) == after
    # group g1 is asked by p1 (from g8 at 1001) and p21, p41; p1 remains, p20 (g0) was deleted
    targets, allowed = _probe(network, "w8", "w1", 1001)
    until("what a policy allows passes", lambda: not wrong(targets, {allowed: True}), 30)
    targets, forbidden = _probe(network, "w9", "w1", 1001)
    assert not wrong(targets, {forbidden: False})
    assert leaks(network) == []
    for number in range(POLICIES):
        if number % 4:
            api.delete(f"{GROUP}/p{number}")
    end_all(network, CALLERS, [pod for pod in network.pods.values() if pod.name.startswith("w")])
    assert leaks(network) == []
    endpoints = network.datastore.resources("workloadendpoints")
    assert [key for key in endpoints if key.startswith(f"{NAMESPACE}/")] == []


def test_pods_that_are_made_again_under_their_names_have_one_address_each_and_their_policies(network: Network) -> None:
    again = [_pod(network, name, group, "node1") for name, group in (("a1", "x"), ("a2", "y"), ("a3", "z"))]
    peer = {"podSelector": {"matchLabels": {"group": "y"}}}
    spec = {"podSelector": {"matchLabels": {"group": "x"}}, "ingress": [{"from": [peer]}]}
    network.plane.api.create(GROUP, {"metadata": {"name": "again", "namespace": NAMESPACE}, "spec": spec})
    for pod in again:
        sandbox, pod.sandbox = pod.sandbox, ""
        network.plane.api.delete(pod.path, grace_s=0)  # the object goes first, as when a node was away
        pod.create()
        pod.sandbox = sandbox
        pod.detach()
        pod.attach()
    network.settle()
    targets, allowed = _probe(network, "a2", "a1", 80)
    until("what a policy allows passes", lambda: not wrong(targets, {allowed: True}), 30)
    targets, forbidden = _probe(network, "a3", "a1", 80)
    assert not wrong(targets, {forbidden: False})
    assert leaks(network) == []
    network.plane.api.delete(f"{GROUP}/again")
    end_all(network, CALLERS, again)
    assert leaks(network) == []


def test_a_node_that_is_deleted_takes_its_endpoints_and_addresses_with_it(network: Network) -> None:
    prefix = "/calico/resources/v3/projectcalico.org/nodes/"
    stays, goes = _pod(network, "s1", "x", "node1"), _pod(network, "s2", "x", "node3")
    node = network.datastore.resources("nodes")["node3"]
    reference = [{"nodeName": "node3", "orchestrator": "k8s"}]
    network.datastore.put(f"{prefix}node3", {**node, "spec": {**node["spec"], "orchRefs": reference}})
    network.plane.api.delete(goes.path, grace_s=0)
    network.plane.api.delete("/api/v1/nodes/node3")
    del network.pods[f"{NAMESPACE}-{goes.name}"]
    until("the Node is gone", lambda: "node3" not in network.datastore.resources("nodes"), 60)
    assert leaks(network) == [], "its addresses are free"
    endpoints = network.datastore.resources("workloadendpoints")
    assert not [key for key in endpoints if key.startswith(f"{NAMESPACE}/node3-")]
    assert f"k8s-pod-network.{stays.sandbox}" in network.datastore.under("/calico/ipam/v2/handle/")
    end_all(network, CALLERS, [stays])


def _pod(network: Network, name: str, group: str, node: str) -> PlainPod:
    return network.run(node, {"metadata": {"namespace": NAMESPACE, "name": name, "labels": {"group": group}}})
