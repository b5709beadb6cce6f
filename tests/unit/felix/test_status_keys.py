"""Where Felix reports in the datastore."""

from calico.calc.messages import EndpointId
from calico.felix.status_keys import endpoint_status_key, host_endpoint_status_key, host_status_keys


def test_a_host_reports_under_its_region() -> None:
    assert host_status_keys("h1") == (
        "/calico/felix/v2/no-region/host/h1/status",
        "/calico/felix/v2/no-region/host/h1/last_reported_status",
    )
    assert host_status_keys("h1", "eu")[0] == "/calico/felix/v2/region-eu/host/h1/status"


def test_percent_and_slash_are_escaped_in_endpoint_keys() -> None:
    key = endpoint_status_key("h1", EndpointId("k8s", "default/web-0", "eth%0"))
    assert key == "/calico/felix/v2/no-region/host/h1/workload/k8s/default%2fweb-0/endpoint/eth%250"


def test_host_endpoints_are_reported_under_version_one_without_a_region() -> None:
    assert host_endpoint_status_key("h1", "eth0.h1") == "/calico/felix/v1/host/h1/endpoint/eth0.h1"
