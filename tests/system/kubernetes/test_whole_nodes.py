"""Two whole nodes: pods by the kubelet and containerd, a Service by kube-proxy beside our table, and policy on both."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.network import Network
from cluster.whole import AGNHOST, whole_cluster
from functional.runtimes.privileges import what_is_missing
from stack.process import until

pytestmark = [
    pytest.mark.lab, pytest.mark.kubernetes, pytest.mark.runtimes, pytest.mark.timeout(300),
    pytest.mark.xdist_group("kubernetes"),
]  # fmt: skip
PODS = "/api/v1/namespaces/shop/pods"
CLIENTS = {"friend1": "node1", "friend2": "node2", "other1": "node1", "other2": "node2"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A server on node1 behind a Service, and clients on both nodes; all run."""
    if missing := what_is_missing(tmp_path_factory.mktemp("privileges")):
        pytest.skip(missing)
    with whole_cluster("kwhole") as network:
        api = network.plane.api
        network.plane.add_namespace("shop")
        service = {"selector": {"role": "server"}, "ports": [{"port": 8000, "targetPort": "web"}]}
        api.create("/api/v1/namespaces/shop/services", {"metadata": {"name": "server"}, "spec": service})
        serving = {"args": ["netexec", "--http-port=80"], "ports": [{"name": "web", "containerPort": 80}]}
        api.create(PODS, pod("server", "server", "node1", serving))
        for name, node in CLIENTS.items():
            api.create(PODS, pod(name, name.rstrip("12"), node, {"command": ["/bin/sleep", "100000"]}))
        until("all pods run", lambda: all(is_ready(one) for one in api.list(PODS)), 90, dump=network.plane.logs)
        network.settle()
        yield network


def pod(name: str, role: str, node: str, container: dict[str, Any]) -> dict[str, Any]:
    main = {"name": "main", "image": AGNHOST, "imagePullPolicy": "Never", **container}
    selector = {"kubernetes.io/hostname": node}  # so that the scheduler places it
    spec = {"containers": [main], "nodeSelector": selector, "terminationGracePeriodSeconds": 0}
    return {"metadata": {"name": name, "labels": {"role": role}}, "spec": spec}


def is_ready(found: dict[str, Any]) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in found["status"].get("conditions", ()))


def reaching(network: Network, destination: str) -> set[str]:
    """The clients whose TCP connection to ``address:port`` is made within two seconds."""
    kubectl = [*network.plane.enter, str(network.plane.binaries / "kubectl"), "-n", "shop"]
    kubectl += ["--kubeconfig", network.plane.kubeconfig("admin"), "exec"]
    tries = {
        name: subprocess.Popen(
            [*kubectl, name, "--", "/agnhost", "connect", destination, "--timeout=2s"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for name in CLIENTS
    }  # fmt: skip
    said = {name: process.communicate()[0] for name, process in tries.items()}
    for name, process in tries.items():
        assert process.returncode == 0 or "TIMEOUT" in said[name], f"{name}: {said[name]}"
    return {name for name, process in tries.items() if process.returncode == 0}


def test_policy_holds_by_service_and_by_address_on_both_nodes(shop: Network) -> None:
    api = shop.plane.api
    cluster_ip = api.get("/api/v1/namespaces/shop/services/server")["spec"]["clusterIP"]
    ways = [f"{cluster_ip}:8000", f"{api.get(f'{PODS}/server')['status']['podIP']}:80"]
    for way in ways:
        until(f"{way} is open to all", lambda way=way: reaching(shop, way) == set(CLIENTS))
    policy = {"podSelector": {"matchLabels": {"role": "server"}},
              "ingress": [{"from": [{"podSelector": {"matchLabels": {"role": "friend"}}}],
                           "ports": [{"port": "web"}]}]}  # fmt: skip
    policies = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies"
    api.create(policies, {"metadata": {"name": "friends"}, "spec": policy})
    shop.settle()
    assert [reaching(shop, way) for way in ways] == [{"friend1", "friend2"}] * 2
    api.set_labels(f"{PODS}/other2", {"role": "friend"})
    shop.settle()
    assert [reaching(shop, way) for way in ways] == [{"friend1", "friend2", "other2"}] * 2
    api.delete(f"{policies}/friends")
    shop.settle()
    assert [reaching(shop, way) for way in ways] == [set(CLIENTS)] * 2


def test_deleted_pods_leave_no_address_and_no_endpoint(shop: Network) -> None:
    api = shop.plane.api

    def held() -> tuple[set[str], set[str]]:
        return set(shop.datastore.under("/calico/ipam/v2/handle/")), set(shop.datastore.resources("workloadendpoints"))

    before = held()
    brief = {"brief1": "node1", "brief2": "node2"}
    for name, node in brief.items():
        api.create(PODS, pod(name, "brief", node, {"command": ["/bin/sleep", "100000"]}))
    until("they run", lambda: all(is_ready(api.get(f"{PODS}/{name}")) for name in brief), 90, dump=shop.plane.logs)
    assert [len(now - then) for now, then in zip(held(), before, strict=True)] == [2, 2]
    for name in brief:
        api.delete(f"{PODS}/{name}")
    until("the pods are gone", lambda: not brief.keys() & {one["metadata"]["name"] for one in api.list(PODS)})
    # without a grace period the API forgets a pod before its sandbox ends
    until("their addresses are free, their endpoints gone", lambda: held() == before, dump=shop.plane.logs)
