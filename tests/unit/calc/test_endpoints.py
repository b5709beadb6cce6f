from __future__ import annotations

from typing import Any

import pytest

from calico.calc.endpoints import Endpoint, decode_endpoint, node_of
from calico.calc.labels import unpack_labels
from calico.calc.messages import EndpointId
from calico.calc.settings import CalcSettings
from calico.errors import InvalidInput
from calico.lib.packed import net
from calico.model.keys import ResourceKey
from calico.model.meta import Metadata
from calico.model.workload import EndpointPort, WorkloadEndpoint, WorkloadEndpointSpec

USUAL: dict[str, Any] = {
    "node": "node-1",
    "orchestrator": "k8s",
    "pod": "web-0",
    "endpoint": "eth0",
    "ip_networks": ("10.65.0.2/32",),
    "interface_name": "cali0123456789a",
}


def decode(
    *,
    name: str = "node--1-k8s-web--0-eth0",
    labels: dict[str, str] | None = None,
    spoofing: bool = False,
    **spec: Any,
) -> Endpoint:
    key = ResourceKey("WorkloadEndpoint", "red", name)
    metadata = Metadata(name=name, namespace="red", labels=labels or {})
    resource = WorkloadEndpoint(metadata=metadata, spec=WorkloadEndpointSpec(**{**USUAL, **spec}))
    return decode_endpoint(key, resource, CalcSettings(source_spoofing=spoofing))


def test_the_name_says_node_and_identity() -> None:
    endpoint = decode()
    assert endpoint.node == "node-1"
    assert endpoint.id == EndpointId("k8s", "red/web-0", "eth0")


def test_an_openstack_endpoint_is_identified_by_its_device_and_port() -> None:
    endpoint = decode(name="node--1-openstack-dev--1-port--2", orchestrator="openstack")
    assert endpoint.id == EndpointId("openstack", "red/dev-1", "port-2")


def test_bare_addresses_are_single_addresses_and_repeats_are_dropped() -> None:
    endpoint = decode(ip_networks=("10.65.0.2", "fd00::2/128", "10.65.0.2/32"))
    assert endpoint.nets == (net("10.65.0.2"), net("fd00::2"))


def test_nobody_gives_himself_the_labels_of_a_namespace_or_service_account() -> None:
    endpoint = decode(
        labels={
            "app": "web",
            "pcns.a": "x",
            "pcsa.b": "y",
            "projectcalico.org/namespace": "blue",
            "projectcalico.org/serviceaccount": "root",
        },
        service_account_name="robot",
    )
    assert unpack_labels(endpoint.labels) == {
        "app": "web",
        "projectcalico.org/namespace": "red",
        "projectcalico.org/serviceaccount": "robot",
    }


def test_networks_to_send_from_are_packed_and_none_counts_twice() -> None:
    endpoint = decode(
        spoofing=True, allow_spoofed_source_prefixes=("fd00::/64", "10.2.3.4/8", "10.0.0.0/8", "10.9.9.9")
    )
    assert endpoint.spoofed == (net("10.0.0.0/8"), net("10.9.9.9/32"), net("fd00::/64"))


def test_networks_to_send_from_are_the_same_in_whatever_order_they_stand() -> None:
    texts = tuple(f"10.{number}.0.0/16" for number in range(20))
    one, other = (decode(spoofing=True, allow_spoofed_source_prefixes=order).spoofed for order in (texts, texts[::-1]))
    assert one == other == tuple(map(net, texts))


def test_one_network_to_send_from_that_is_none_refuses_the_endpoint() -> None:
    with pytest.raises(InvalidInput) as refusal:
        decode(spoofing=True, allow_spoofed_source_prefixes=("10.0.0.0/8", "10.0.0.0/33"))
    assert refusal.value.field == "spec.allowSpoofedSourcePrefixes[1]"


def test_ports_without_a_name_are_ignored() -> None:
    endpoint = decode(ports=(EndpointPort(protocol="TCP", port=80, host_port=80), EndpointPort(name="w", port=81)))
    assert endpoint.ports == (("w", 6, 81),)


def test_ports_stand_by_name_protocol_and_number_in_whatever_order_they_were_written() -> None:
    ports = tuple(
        EndpointPort(name=name, protocol=protocol, port=port)
        for name in ("a", "b", "c")
        for protocol in ("TCP", "UDP")
        for port in (1, 80, 65535)
    )
    numbers = {"TCP": 6, "UDP": 17}
    expected = [(port.name, numbers[str(port.protocol)], port.port) for port in ports]
    assert decode(ports=ports).ports == decode(ports=ports[::-1]).ports == tuple(expected)


def test_what_an_endpoint_does_not_say_is_empty_and_no_fault() -> None:
    endpoint = decode(node="")
    assert (endpoint.node, endpoint.mac, endpoint.gateway_v4, endpoint.gateway_v6) == ("node-1", b"", b"", b"")
    assert unpack_labels(endpoint.labels) == {"projectcalico.org/namespace": "red"}


def test_a_mac_address_may_be_written_with_colons() -> None:
    assert decode(mac="ee:EE:00:00:00:01").mac == b"\xee\xee\0\0\0\1"


def test_mac_and_gateways_are_packed() -> None:
    endpoint = decode(mac="EE-ee-00-00-00-01", ipv4_gateway="169.254.1.1", ipv6_gateway="fe80::1")
    assert endpoint.mac == b"\xee\xee\0\0\0\1"
    assert endpoint.gateway_v4 == b"\xa9\xfe\1\1"
    assert endpoint.gateway_v6[-1] == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "web"}, "metadata.name"),
        ({"name": "node--1-k8s-web--0-"}, "metadata.name"),
        ({"name": "node--1-k8s--web-eth0"}, "metadata.name"),
        ({"name": "node--1-k8s-web--0-eth0-"}, "metadata.name"),
        ({"name": "node--1-libnetwork-web-eth0"}, "metadata.name"),
        ({"node": "node-2"}, "spec.node"),
        ({"ip_networks": ()}, "spec.ipNetworks"),
        ({"ip_networks": ("10.65.0.2", "10.65.0.0/24")}, "spec.ipNetworks[1]"),
        ({"ip_networks": ("ten",)}, "spec.ipNetworks[0]"),
        ({"interface_name": ""}, "spec.interfaceName"),
        ({"interface_name": "cali0123456789ab"}, "spec.interfaceName"),
        ({"interface_name": "*"}, "spec.interfaceName"),
        ({"interface_name": "."}, "spec.interfaceName"),
        ({"interface_name": ".."}, "spec.interfaceName"),
        ({"mac": "ee:ee"}, "spec.mac"),
        ({"ipv4_gateway": "fe80::1"}, "spec.ipv4Gateway"),
        ({"ipv6_gateway": "here"}, "spec.ipv6Gateway"),
        ({"allow_spoofed_source_prefixes": ("10.0.0.0/8",)}, "spec.allowSpoofedSourcePrefixes"),
        ({"ports": (EndpointPort(name="a", protocol="ICMP", port=1),)}, "spec.ports[0].protocol"),
        ({"ports": (EndpointPort(name="a", port=0),)}, "spec.ports[0].port"),
        ({"ports": (EndpointPort(name="a", port=65536),)}, "spec.ports[0].port"),
    ],
)
def test_a_malformed_endpoint_is_refused_with_the_name_of_the_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        decode(**change)
    assert refusal.value.field == field


def test_a_name_that_names_no_endpoint_may_still_name_a_node() -> None:
    assert node_of(ResourceKey("WorkloadEndpoint", "red", "node--1-k8s-")) == "node-1"
    assert node_of(ResourceKey("WorkloadEndpoint", "red", "a-b-c-d-e")) == ""
