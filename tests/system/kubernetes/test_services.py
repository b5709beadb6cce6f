"""Policy that names a service, and a service's addresses in BGP: a real API server, its own controllers, packets."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from calico.lab.daemons import run_dir
from calico.lab.probe.matrix import Probe, Target
from calico.lab.topology import parse_topology
from cluster.network import Network
from cluster.plain import PlainPod
from netpol.cases import wrong
from stack.process import until

LAB = "ksvc"
TOPOLOGY = {
    "name": LAB, "pools": [{"cidr": "10.65.0.0/16"}, {"cidr": "fd00:65::/64"}],
    "hosts": [{"name": "node1"}, {"name": "node2"}],
}  # fmt: skip
CALICO = "/calico/resources/v3/projectcalico.org"
pytestmark = [
    pytest.mark.lab, pytest.mark.kubernetes, pytest.mark.timeout(300), pytest.mark.xdist_group("kubernetes")
]  # fmt: skip


class Shop:
    """A client on one host; two servers on the other, of which a Service selects those with app=web."""

    def __init__(self, network: Network) -> None:
        self.network, self.api = network, network.plane.api
        network.plane.add_namespace("shop")
        self.pods: dict[str, PlainPod] = {}
        for name, node, app in (("client", "node1", "client"), ("one", "node2", "web"), ("two", "node2", "other")):
            self.add(name, node, app)
        ports = [{"name": "http", "port": 80, "targetPort": 8080}]
        spec = {"selector": {"app": "web"}, "ports": ports, "type": "NodePort", "externalTrafficPolicy": "Local"}
        body = {"metadata": {"name": "web"}, "spec": {**spec, "externalIPs": ["192.0.2.7"]}}
        self.api.create("/api/v1/namespaces/shop/services", body)

    def add(self, name: str, node: str, app: str) -> None:
        metadata = {"namespace": "shop", "name": name, "labels": {"app": app}}
        self.pods[name] = self.network.run(node, {"metadata": metadata})

    def label(self, name: str, app: str) -> None:
        self.api.set_labels(self.pods[name].path, {"app": app})

    def put(self, plural: str, name: str, kind: str, spec: dict[str, Any], namespace: str = "") -> None:
        """A resource of Calico's, by etcd's own client."""
        metadata = {"name": name, "uid": "2d3f8f3e-6c33-5a07-9a0e-0a7d6d1b8f12"}
        metadata |= {"creationTimestamp": "2026-01-01T00:00:00Z"} | ({"namespace": namespace} if namespace else {})
        document = {"kind": kind, "apiVersion": "projectcalico.org/v3", "metadata": metadata, "spec": spec}
        key = "/".join(part for part in (CALICO, plural, namespace, name) if part)
        self.network.datastore.put(key, document)

    def wrong(self, family: int = 4, **expected: bool) -> list[str]:
        """Which packets are not judged as expected, by names of the form from_to_port."""
        targets = [Target(name=name, netns=pod.netns, addresses=pod.addresses) for name, pod in self.pods.items()]
        probes = {}
        for what, passes in expected.items():
            src, dst, port = what.split("_")
            probes[Probe(src=src, dst=dst, protocol="TCP", port=int(port), family=family)] = passes
        return wrong(targets, probes)

    def until(self, what: str, **expected: bool) -> None:
        until(what, lambda: not self.wrong(**expected), 30, dump=lambda: "\n".join(self.wrong(**expected)))


@pytest.fixture(scope="module")
def made() -> Iterator[Shop]:
    with Network(parse_topology(json.dumps(TOPOLOGY))) as network:
        yield Shop(network)


@pytest.fixture
def shop(made: Shop) -> Shop:
    """No policy; one is behind the service and two is not."""
    made.network.datastore.forget(f"{CALICO}/networkpolicies/shop/")
    made.label("one", "web")
    made.label("two", "other")
    made.until("all is open", client_one_8080=True, client_two_8080=True, one_client_7000=True, two_client_7000=True)
    return made


def _only_to_web(shop: Shop) -> None:
    rule = {"action": "Allow", "protocol": "TCP", "destination": {"services": {"name": "web"}}}
    spec = {"selector": "app == 'client'", "types": ["Egress"], "egress": [rule]}
    shop.put("networkpolicies", "only-web", "NetworkPolicy", {"tier": "default", **spec}, "shop")


def test_egress_to_a_service_follows_the_pods_behind_it_and_its_ports(shop: Shop) -> None:
    _only_to_web(shop)
    shop.until("only the service", client_one_8080=True, client_two_8080=False, client_one_9090=False)
    assert not shop.wrong(6, client_one_8080=False), "the Service, and so its slices, have no IPv6"
    shop.label("two", "web")
    shop.until("the second is behind it too", client_one_8080=True, client_two_8080=True, client_two_9090=False)
    shop.label("one", "other")
    shop.until("the first is no more", client_one_8080=False, client_two_8080=True)


def test_a_pod_that_comes_again_under_its_name_has_what_its_new_labels_give_it(shop: Shop) -> None:
    _only_to_web(shop)
    shop.label("two", "web")
    shop.until("it serves", client_two_8080=True)
    shop.network.delete(shop.pods["two"])
    shop.add("two", "node1", "other")
    shop.until("it is nobody's server now", client_two_8080=False)
    shop.network.delete(shop.pods["two"])
    shop.add("two", "node2", "web")
    shop.until("it serves again", client_two_8080=True, client_two_9090=False)


def test_ingress_from_a_service_is_from_its_pods_alone_whatever_their_ports(shop: Shop) -> None:
    rule = {"action": "Allow", "source": {"services": {"name": "web"}}}
    spec = {"selector": "app == 'client'", "types": ["Ingress"], "ingress": [rule]}
    shop.put("networkpolicies", "from-web", "NetworkPolicy", {"tier": "default", **spec}, "shop")
    shop.until("from the service's pods", one_client_7000=True, two_client_7000=False)


def test_the_service_is_advertised_from_the_host_that_has_a_ready_pod_of_it(shop: Shop) -> None:
    shop.put("bgpconfigurations", "default", "BGPConfiguration", {"serviceExternalIPs": [{"cidr": "192.0.2.0/24"}]})

    def routes(host: str) -> str:
        command = ["birdc", "-s", f"{run_dir(LAB, host)}/bird.ctl", "show", "route", "192.0.2.7/32"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    until("node1 hears of it", lambda: "unicast [Mesh" in routes("node1"), 30, dump=lambda: routes("node1"))
    assert "blackhole" in routes("node2")
    _only_to_web(shop)
    shop.until("policy is in force", client_one_8080=True, client_one_9090=False)
    _set_ready(shop, "one", "False")
    until("it is advertised no more", lambda: "unicast [Mesh" not in routes("node1"), 30, dump=lambda: routes("node1"))
    assert not shop.wrong(client_one_8080=True), "policy goes by who a pod is, not by how it does"
    _set_ready(shop, "one", "True")
    until("it is advertised again", lambda: "unicast [Mesh" in routes("node1"), 30, dump=lambda: routes("node1"))


def _set_ready(shop: Shop, name: str, ready: str) -> None:
    conditions = [{"type": kind, "status": ready} for kind in ("Ready", "ContainersReady")]
    shop.api.patch(f"{shop.pods[name].path}/status", {"status": {"conditions": conditions}})
