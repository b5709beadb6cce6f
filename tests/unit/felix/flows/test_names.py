"""Who has an address, as resources come, change and go."""

from __future__ import annotations

from calico.felix.flows.names import Names
from calico.lib.packed import addr_bytes
from calico.model.hostendpoint import HostEndpoint, HostEndpointSpec
from calico.model.keys import ResourceKey
from calico.model.meta import Metadata
from calico.model.node import Node, NodeBGPSpec, NodeSpec
from calico.model.workload import WorkloadEndpoint, WorkloadEndpointSpec

ADDRESS = addr_bytes("10.0.0.1")


def workload(name: str, *nets: str, **labels: str) -> tuple[ResourceKey, WorkloadEndpoint]:
    spec = WorkloadEndpointSpec(ip_networks=nets)
    metadata = Metadata(name=name, namespace="ns", labels=labels)
    return ResourceKey("WorkloadEndpoint", "ns", name), WorkloadEndpoint(metadata=metadata, spec=spec)


def test_a_workload_has_its_addresses_with_its_labels_until_it_goes() -> None:
    names = Names()
    key, one = workload("w", "10.0.0.1/32", "fd00::1/128", "nonsense", app="a")
    names.on_resource(key, one)
    end = names.end(ADDRESS, 80)
    assert (end.ip, end.port, end.kind, end.namespace, end.name) == ("10.0.0.1", 80, "WorkloadEndpoint", "ns", "w")
    assert end.labels == {"app": "a"}
    assert names.end(addr_bytes("fd00::1"), 0).name == "w"
    names.on_resource(*workload("w", "10.0.0.2/32"))
    assert names.end(ADDRESS, 80).name == ""
    names.on_resource(key, None)
    assert names.end(addr_bytes("10.0.0.2"), 80).name == ""


def test_of_several_that_have_an_address_a_workload_answers_and_then_the_first() -> None:
    names = Names()
    spec = NodeSpec(bgp=NodeBGPSpec(ipv4_address="10.0.0.1/24"))
    names.on_resource(ResourceKey("Node", "", "n"), Node(metadata=Metadata(name="n"), spec=spec))
    assert names.end(ADDRESS, 0).kind == "Node"
    host = HostEndpoint(metadata=Metadata(name="h"), spec=HostEndpointSpec(node="n", expected_ips=("10.0.0.1",)))
    names.on_resource(ResourceKey("HostEndpoint", "", "h"), host)
    assert names.end(ADDRESS, 0).kind == "HostEndpoint"
    names.on_resource(*workload("b", "10.0.0.1/32"))
    names.on_resource(*workload("a", "10.0.0.1/32"))
    assert names.end(ADDRESS, 0).name == "a"
    names.on_resource(ResourceKey("WorkloadEndpoint", "ns", "a"), None)
    assert names.end(ADDRESS, 0).name == "b"


def test_what_has_no_address_or_is_of_another_kind_is_nobody() -> None:
    names = Names()
    names.on_resource(ResourceKey("Node", "", "n"), Node(metadata=Metadata(name="n")))
    names.on_resource(ResourceKey("Tier", "", "t"), None)
    assert names.end(ADDRESS, 0).name == ""
