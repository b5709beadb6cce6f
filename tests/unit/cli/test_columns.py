"""What tables show of a resource."""

import pytest

from calico.cli.output.columns import columns_of
from calico.model.hostendpoint import HostEndpoint, HostEndpointSpec
from calico.model.kinds import find_kind
from calico.model.meta import Metadata

EDGE = HostEndpoint(
    metadata=Metadata(name="h1-eth0"),
    spec=HostEndpointSpec(
        node="h1", interface_name="eth0", expected_ips=("10.0.0.1", "fd00::1"), profiles=("open", "more")
    ),
)


def row(*, wide: bool) -> dict[str, object]:
    return {title: read(EDGE) for title, read in columns_of("HostEndpoint", wide=wide)}


def test_a_host_endpoint_shows_its_node_and_in_full_what_it_is_and_names() -> None:
    assert row(wide=False) == {"NAME": "h1-eth0", "NODE": "h1"}
    assert row(wide=True) == {
        "NAME": "h1-eth0",
        "NODE": "h1",
        "INTERFACE": "eth0",
        "IPS": "10.0.0.1,fd00::1",
        "PROFILES": "open,more",
    }


@pytest.mark.parametrize("name", ["hep", "heps", "HostEndpoint", "hostendpoint", "hostendpoints", "HEP"])
def test_a_host_endpoint_goes_by_all_its_names(name: str) -> None:
    assert find_kind(name).plural == "hostendpoints"
