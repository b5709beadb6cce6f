"""Faults while real runtimes attach and detach: what fails is tried again, and nothing is left."""

from __future__ import annotations

import signal
from typing import Any

import grpc
import pytest

from functional.runtimes.cluster import Cluster, Node, until
from functional.runtimes.serving import WEB, fetch

pytestmark = [pytest.mark.root, pytest.mark.etcd, pytest.mark.bird, pytest.mark.runtimes]


def _retried(node: Node, name: str, *command: str) -> Any:
    """As the kubelet: every attempt is a sandbox of its own, until one is made."""
    made: list[Any] = []

    def attempt() -> bool:
        config = node.containerd.sandbox_config(name, attempt=next(attempts))
        try:
            sandbox = node.containerd.cri.call("RunPodSandbox", config=config).pod_sandbox_id
        except grpc.RpcError:
            return False
        made.append(node.containerd.run_container(config, sandbox, *command))
        return True

    attempts = iter(range(1, 1000))
    until(attempt, "a sandbox was made")
    return made[0]


def _died(node: Node) -> None:
    """The daemon reached the step at which it kills itself."""
    assert node.daemon is not None
    assert node.daemon.wait(10) == -signal.SIGKILL


def test_a_pod_that_starts_while_the_daemon_is_away_is_refused_and_made_later(cluster: Cluster) -> None:
    node = cluster.nodes[0]
    node.kill_daemon()
    config = node.containerd.sandbox_config("web")
    with pytest.raises(grpc.RpcError) as refused:
        node.containerd.cri.call("RunPodSandbox", config=config)
    assert "calico" in str(refused.value)
    assert cluster.allocations() == {}
    node.start_daemon()
    web = _retried(node, "web", *WEB)
    client = cluster.nodes[1].containerd.run_pod("client")
    until(lambda: fetch(client.exec, web.address), "the pod serves")
    assert sorted(cluster.allocations()) == sorted([web.address, client.address])


@pytest.mark.parametrize("step", ["recorded", "allocated", "paired", "wired", "endpoint written", "programmed"])
def test_a_daemon_killed_while_a_pod_starts_costs_a_retry_and_nothing_else(cluster: Cluster, step: str) -> None:
    node = cluster.nodes[0]
    client = cluster.nodes[1].containerd.run_pod("client")
    node.kill_daemon()
    node.start_daemon(end_at=step)
    with pytest.raises(grpc.RpcError):
        node.containerd.cri.call("RunPodSandbox", config=node.containerd.sandbox_config("web"))
    _died(node)
    node.start_daemon()
    web = _retried(node, "web", *WEB)
    until(lambda: fetch(client.exec, web.address), "the pod serves")
    for sandbox in node.containerd.sandboxes():
        if sandbox != web.sandbox:
            node.containerd.remove(sandbox)
    assert sorted(cluster.allocations()) == sorted([web.address, client.address])
    assert fetch(client.exec, web.address)


@pytest.mark.parametrize("step", ["endpoint deleted", "unwired", "released", "forgotten"])
def test_a_daemon_killed_while_a_pod_ends_costs_a_retry_and_nothing_else(cluster: Cluster, step: str) -> None:
    node = cluster.nodes[0]
    pod = node.containerd.run_pod("web")
    node.kill_daemon()
    node.start_daemon(end_at=step)
    with pytest.raises(grpc.RpcError):
        pod.stop()
    _died(node)
    node.start_daemon()
    pod.stop()
    cluster.nothing_is_left()


def test_a_runtime_that_is_killed_and_started_again_keeps_its_pods_and_can_end_them(cluster: Cluster) -> None:
    node = cluster.nodes[0]
    web = node.containerd.run_pod("web", *WEB)
    client = cluster.nodes[1].containerd.run_pod("client")
    until(lambda: fetch(client.exec, web.address), "the pod serves")
    address = web.address
    node.containerd.kill()
    assert fetch(client.exec, address)
    node.containerd.start()
    assert web.addresses == [address]
    assert fetch(client.exec, address)
    web.stop()
    until(lambda: not fetch(client.exec, address), "the pod is gone")
    assert list(cluster.allocations()) == client.addresses


def test_a_pod_that_ends_while_etcd_is_away_is_refused_and_ended_later(cluster: Cluster) -> None:
    node = cluster.nodes[0]
    pod = node.containerd.run_pod("web")
    node.podman.run("box")
    cluster.stop_etcd()
    with pytest.raises(grpc.RpcError):
        node.containerd.cri.call("StopPodSandbox", pod_sandbox_id=pod.sandbox)
    cluster.fabric.restart_etcd()
    assert len(cluster.allocations()) == 2

    def stopped() -> bool:
        try:
            pod.stop()
        except grpc.RpcError:
            return False
        return True

    until(stopped, "the pod is ended")
    assert len(cluster.allocations()) == 1


@pytest.mark.parametrize("away", ["etcd", "daemon"])
def test_a_container_that_podman_removes_while_nobody_can_detach_it_is_detached_later(
    cluster: Cluster, away: str
) -> None:
    """podman asks once and forgets the container, whatever the answer was."""
    node = cluster.nodes[0]
    node.podman.run("gone")
    node.podman.run("kept")
    kept = node.podman.address("kept")
    if away == "etcd":
        cluster.stop_etcd()
    else:
        node.kill_daemon()
    node.podman.attempt("rm", "--force", "--time", "0", "gone")
    assert "gone" not in node.podman("ps", "--all")
    cluster.start_again()
    assert len(cluster.allocations()) == 2
    until(lambda: list(cluster.allocations()) == [kept], "the address of the removed container is free")
    assert len(cluster.endpoints()) == len(node.workload_links()) == 1
    node.site.run("ping", "-c", "1", "-W", "2", kept)


def test_the_end_of_an_old_sandbox_does_not_touch_the_new_one_of_the_same_pod(cluster: Cluster) -> None:
    node = cluster.nodes[0]
    old = node.containerd.run_pod("web", *WEB)
    new = node.containerd.run_pod("web", *WEB, attempt=1)
    client = cluster.nodes[1].containerd.run_pod("client")
    until(lambda: fetch(client.exec, new.address), "the new sandbox serves")
    old.stop()
    assert fetch(client.exec, new.address)
    assert sorted(cluster.allocations()) == sorted([new.address, client.address])
