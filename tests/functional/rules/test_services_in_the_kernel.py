"""Rules that name services, from the calculation to packets, as soon as somebody tells what is behind a service."""

from __future__ import annotations

from typing import Any

import pytest

from calico.calc.graph import Graph
from calico.calc.services import ServiceEndpoints
from calico.lib.packed import addr_bytes, addr_port, net
from calico.model.keys import ResourceKey
from calico.model.meta import Metadata
from calico.model.policy import EntityRule, NetworkPolicy, NetworkPolicySpec, Rule, ServiceMatch
from calico.model.workload import WorkloadEndpoint, WorkloadEndpointSpec

pytestmark = pytest.mark.root

WEB = EntityRule(services=ServiceMatch(name="web"))
OPEN = ("projectcalico-default-allow",)


def graph_of(host: Any, **spec: Any) -> Graph:
    """Both workloads, and a policy for the second one, which sends."""
    graph = Graph("here")
    for workload in host.workloads:
        key = ResourceKey("WorkloadEndpoint", "shop", f"here-k8s-w{workload.number}-eth0")
        endpoint = WorkloadEndpointSpec(
            orchestrator="k8s",
            node="here",
            pod=f"w{workload.number}",
            endpoint="eth0",
            interface_name=workload.interface,
            ip_networks=(workload.v4, workload.v6),
            profiles=OPEN,
        )
        labels = {"app": f"w{workload.number}"}
        graph.on_resource(key, WorkloadEndpoint(metadata=Metadata(labels=labels), spec=endpoint))
    policy = NetworkPolicy(metadata=Metadata(name="p", namespace="shop"), spec=NetworkPolicySpec(**spec))
    graph.on_resource(ResourceKey("NetworkPolicy", "shop", "p"), policy)
    graph.on_service_source()
    graph.on_in_sync()
    return graph


def web(*addresses: str, port: int) -> ServiceEndpoints:
    return ServiceEndpoints(
        addresses=frozenset(map(net, addresses)),
        ports=frozenset(addr_port(addr_bytes(address), 17, port) for address in addresses),
    )


def reached(host: Any, family: str, ports: tuple[int, ...]) -> set[int]:
    """Ports of the first workload that a datagram of the second reaches; the last one is always open, and not told."""
    one, two = host.workloads
    target = getattr(one, family)
    found: set[int] = set()
    receivers = {port: one.udp(target, port) for port in ports}
    try:
        with two.udp(getattr(two, family), 0) as sender:
            for port in ports:
                sender.sendto(b"probe", (target, port))
        receivers[ports[-1]].recv(100)
        for port, receiver in receivers.items():
            receiver.setblocking(False)
            try:
                receiver.recv(100)
            except BlockingIOError:
                continue
            found.add(port)
    finally:
        for receiver in receivers.values():
            receiver.close()
    return found


FENCE = Rule(action="Allow", protocol="UDP", destination=EntityRule(ports=(9,)))
FAMILIES = pytest.mark.parametrize("family", ["v4", "v6"])


@FAMILIES
def test_a_service_as_destination_is_open_on_its_ports_and_follows_it(host: Any, family: str) -> None:
    one, _ = host.workloads
    rule = Rule(action="Allow", destination=WEB)
    graph = graph_of(host, selector="app == 'w2'", types=("Egress",), egress=(rule, FENCE))
    host.apply(*graph.flush())
    assert reached(host, family, (53, 80, 9)) == set()
    graph.on_service("shop", "web", web(one.v4, one.v6, port=53))
    host.apply(*graph.flush())
    assert reached(host, family, (53, 80, 9)) == {53}
    graph.on_service("shop", "web", web(one.v4, one.v6, port=80))
    graph.on_service("other", "web", web(one.v4, one.v6, port=53))
    host.apply(*graph.flush())
    assert reached(host, family, (53, 80, 9)) == {80}
    graph.on_service("shop", "web", None)
    host.apply(*graph.flush())
    assert reached(host, family, (53, 80, 9)) == set()


@FAMILIES
def test_a_service_as_source_is_its_addresses_on_any_port(host: Any, family: str) -> None:
    _, two = host.workloads
    rule = Rule(action="Deny", source=WEB, destination=EntityRule(not_ports=(9,)), protocol="UDP")
    graph = graph_of(host, selector="app == 'w1'", types=("Ingress",), ingress=(rule, Rule(action="Allow")))
    host.apply(*graph.flush())
    assert reached(host, family, (53, 80, 9)) == {53, 80}
    graph.on_service("shop", "web", web(two.v4, two.v6, port=1))
    host.apply(*graph.flush())
    assert reached(host, family, (53, 80, 9)) == set()
