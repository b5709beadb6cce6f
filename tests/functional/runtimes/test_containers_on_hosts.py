"""Containers of real runtimes on two hosts: they reach each other as policy says, and leave nothing when they end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from functional.runtimes.cluster import NETWORK, Cluster, until
from functional.runtimes.serving import WEB, fetch, policy

pytestmark = [pytest.mark.root, pytest.mark.etcd, pytest.mark.bird, pytest.mark.runtimes]


def test_pods_on_two_hosts_reach_each_other_as_policy_says(cluster: Cluster) -> None:
    here, there = (node.containerd for node in cluster.nodes)
    web = there.run_pod("web", *WEB, namespace="back")
    friend, stranger = here.run_pod("friend", namespace="front"), there.run_pod("stranger", namespace="other")
    assert set(cluster.allocations()) == {web.address, friend.address, stranger.address}
    until(lambda: fetch(friend.exec, web.address), "the route to the pod reached the other host")
    assert fetch(stranger.exec, web.address)
    cluster.apply(policy("only-front", "back", "front"))
    assert fetch(friend.exec, web.address)
    assert not fetch(stranger.exec, web.address)
    late = here.run_pod("late", namespace="other")
    assert not fetch(late.exec, web.address)


def test_a_pod_is_under_its_policy_from_its_first_packet(cluster: Cluster) -> None:
    here = cluster.nodes[0].containerd
    cluster.apply(policy("only-front", "back", "front"))
    stranger, friend = here.run_pod("stranger", namespace="other"), here.run_pod("friend", namespace="front")
    for number in range(3):
        web = here.run_pod(f"web{number}", *WEB, namespace="back")
        assert not fetch(stranger.exec, web.address)
        assert fetch(friend.exec, web.address)
        web.stop()


def test_two_runtimes_share_a_host(cluster: Cluster) -> None:
    one, other = cluster.nodes
    pod = one.containerd.run_pod("web", *WEB)
    one.podman.run("web", *WEB)
    other.podman.run("client")
    addresses = {pod.address, one.podman.address("web"), other.podman.address("client")}
    assert len(addresses) == 3
    assert set(cluster.allocations()) == addresses
    client = lambda *command: other.podman.exec("client", *command)  # noqa: E731
    until(lambda: fetch(client, pod.address), "podman's container reaches the pod of the other host")
    assert fetch(client, one.podman.address("web"))
    assert fetch(pod.exec, one.podman.address("web"))
    one.podman.remove("web")
    assert len(one.workload_links()) == 1
    assert fetch(client, pod.address)


def test_containers_of_a_network_without_policy_reach_each_other_only_within_it(cluster: Cluster) -> None:
    node = cluster.nodes[0]
    node.podman.run("web", *WEB)
    (endpoint,) = cluster.endpoints()
    assert "-cni-" in endpoint
    node.podman.run("client")
    assert fetch(lambda *command: node.podman.exec("client", *command), node.podman.address("web"))
    profile = cluster.nodes[0].calico("get", "profile", NETWORK, "-o", "yaml")
    assert f"has({NETWORK})" in profile


def test_ctr_attaches_a_container_for_one_command(cluster: Cluster) -> None:
    node = cluster.nodes[0]
    node.podman.run("web", *WEB)
    target = node.podman.address("web")
    output = node.containerd.ctr_with_network("one", "/bin/ping", "-c", "1", "-W", "5", target)
    assert "1 packets received" in output
    assert list(cluster.allocations()) == [target]


@pytest.mark.parametrize("family", [4, 6])
def test_pods_have_addresses_of_both_families(cluster: Cluster, family: int) -> None:
    for node in cluster.nodes:
        node.configure(ipam={"type": "calico-ipam", "assign_ipv4": "true", "assign_ipv6": "true"})
    web = cluster.nodes[0].containerd.run_pod("web", *WEB)
    client = cluster.nodes[1].containerd.run_pod("client")
    (target,) = [address for address in web.addresses if (":" in address) == (family == 6)]
    until(lambda: fetch(client.exec, target), f"the pod is reached over IPv{family}")


def test_many_pods_start_and_end_at_once_on_both_hosts(cluster: Cluster) -> None:
    runtimes = [node.containerd for node in cluster.nodes]
    names = [f"pod{number}" for number in range(8)]
    client = runtimes[0].run_pod("client")
    with ThreadPoolExecutor(16) as threads:
        started = [threads.submit(runtime.run_pod, name, *WEB) for name in names for runtime in runtimes]
        pods = [one.result() for one in started]
        addresses = {pod.address for pod in pods}
        assert len(addresses) == len(pods)
        assert set(cluster.allocations()) == addresses | {client.address}
        for pod in pods:
            until(lambda pod=pod: fetch(client.exec, pod.address), f"pod {pod.address} is reached")
        for node in cluster.nodes:
            node.check_addresses()
        for ended in [threads.submit(pod.stop) for pod in pods]:
            ended.result()
    assert list(cluster.allocations()) == [client.address]
    cluster.nodes[0].check_addresses()
