from __future__ import annotations

import pytest

from calico.calc.messages import EndpointId
from calico.datastore.barrier import Answer, answer_key
from calico.felix.status_keys import endpoint_status_key, host_status_keys
from calico.orchestrators.openstack.driver.worker.statuskeys import (
    Alive,
    Applied,
    EndpointStatus,
    read_report,
    status_prefix,
)

REGIONS = ("", "west")


@pytest.mark.parametrize("region", REGIONS)
def test_what_felix_writes_is_read_back(region: str) -> None:
    prefix = status_prefix(region)
    leased, last = host_status_keys("h1", region)
    endpoint = EndpointId(orchestrator="openstack", workload="openstack/vm-1", endpoint="port-1")
    key = endpoint_status_key("h1", endpoint, region)
    assert read_report(prefix, leased, b"{}") == Alive("h1", True)
    assert read_report(prefix, leased, None) == Alive("h1", False)
    assert read_report(prefix, last, b"{}") is None
    assert read_report(prefix, key, b'{"status":"up"}') == EndpointStatus("h1", "vm-1", "port-1", "up")
    assert read_report(prefix, key, None) == EndpointStatus("h1", "vm-1", "port-1", "")
    answer = b'{"revision":7,"why":""}'
    assert read_report(prefix, answer_key("h1", region), answer) == Applied("h1", Answer(7))


def test_what_cannot_be_read_and_what_concerns_others_is_nothing() -> None:
    prefix = status_prefix()
    assert read_report(prefix, answer_key("h1"), b"no json") is None
    assert read_report(prefix, f"{prefix}h1/workload/k8s/ns%2fpod/endpoint/eth0", b'{"status":"up"}') is None
    assert read_report(prefix, f"{prefix}h1/workload/openstack/openstack%2fx/endpoint/y", b"[]") is None
    assert read_report(prefix, f"{prefix}round-trip-check", b"{}") is None
