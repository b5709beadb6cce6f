"""Services and EndpointSlices as the datastore tells them to hosts."""

from __future__ import annotations

from typing import Any

import pytest

from calico.model.kubernetes.services import ServiceRecord, SliceEndpoint, SlicePort
from calico.orchestrators.kubernetes.convert.services import service_of_slice, service_to_record, slice_to_record

TCP = {"name": "", "protocol": "TCP", "port": 8080}


def _service(status: dict[str, Any] | None = None, **spec: Any) -> ServiceRecord:
    return service_to_record({"metadata": {"name": "web"}, "spec": spec, "status": status or {}})


def test_a_service_has_the_addresses_of_each_kind_once() -> None:
    record = _service(
        {"loadBalancer": {"ingress": [{"ip": "198.51.100.4"}, {"hostname": "lb.example"}]}},
        type="LoadBalancer",
        clusterIP="10.96.0.4",
        clusterIPs=["10.96.0.4", "fd96::4"],
        externalIPs=["192.0.2.4"],
        externalTrafficPolicy="Local",
    )
    assert record == ServiceRecord(
        cluster_ips=("10.96.0.4", "fd96::4"),
        external_ips=("192.0.2.4",),
        load_balancer_ips=("198.51.100.4",),
        local_only=True,
    )


def test_a_headless_service_has_no_cluster_address_and_a_name_elsewhere_has_none_at_all() -> None:
    assert _service(clusterIP="None", clusterIPs=["None"]) == ServiceRecord()
    assert _service(type="ExternalName", externalName="db.example", externalIPs=["192.0.2.4"]) == ServiceRecord()


@pytest.mark.parametrize(
    ("endpoint", "node"),
    [
        ({"nodeName": "n1"}, "n1"),
        ({"topology": {"kubernetes.io/hostname": "n1"}}, "n1"),  # v1beta1 of Kubernetes 1.20
        ({"nodeName": "n1", "topology": {"kubernetes.io/hostname": "other"}}, "n1"),
        ({"topology": None}, ""),
    ],
)
def test_the_node_of_an_endpoint_is_where_either_version_of_the_api_says_it(
    endpoint: dict[str, Any], node: str
) -> None:
    converted = slice_to_record({"ports": [TCP], "endpoints": [{"addresses": ["10.65.0.2"], **endpoint}]})
    assert converted.record.endpoints == (SliceEndpoint(("10.65.0.2",), node=node),)
    assert converted.record.ports == (SlicePort(8080),)
    assert not converted.problems


@pytest.mark.parametrize(("conditions", "ready"), [(None, True), ({}, True), ({"ready": True}, True)])
def test_an_endpoint_of_which_nobody_says_that_it_is_not_ready_is_ready(conditions: Any, ready: bool) -> None:
    converted = slice_to_record({"endpoints": [{"addresses": ["10.65.0.2"], "conditions": conditions}]})
    assert converted.record.endpoints[0].ready is ready


def test_an_endpoint_that_is_not_ready_is_told_as_such() -> None:
    converted = slice_to_record({"endpoints": [{"addresses": ["10.65.0.2"], "conditions": {"ready": False}}]})
    assert converted.record.endpoints == (SliceEndpoint(("10.65.0.2",), ready=False),)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"ports": [{"protocol": "TCP"}]}, "ports[0].port"),
        ({"ports": [{"protocol": "ICMP", "port": 8}]}, "ports[0].protocol"),
        ({"ports": [{"port": 70000}]}, "ports[0].port"),
        ({"endpoints": [{"addresses": ["pod.example"]}]}, "endpoints[0].addresses"),
        ({"addressType": "FQDN", "endpoints": [{"addresses": ["pod.example"]}]}, "addressType"),
    ],
)
def test_what_cannot_be_told_is_left_out_and_named(part: dict[str, Any], said: str) -> None:
    converted = slice_to_record(part)
    assert [problem.split(":")[0] for problem in converted.problems] in ([said], [f"{said} FQDN"])
    assert (converted.record.ports, converted.record.endpoints) == ((), ())


def test_a_slice_belongs_to_the_service_that_its_label_names() -> None:
    assert service_of_slice({"metadata": {"labels": {"kubernetes.io/service-name": "web"}}}) == "web"
    assert service_of_slice({"metadata": {}}) == ""
