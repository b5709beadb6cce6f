"""Which interfaces have to be looked at again when a host endpoint or an interface changes."""

from __future__ import annotations

import pytest

from calico.calc.messages import HostEndpointUpdate
from calico.lib.packed import addr_bytes
from calico.model.keys import ResourceKey
from calico.rules.config import RulesConfig
from calico.rules.host.claims import HostClaims

NINE = addr_bytes("10.0.0.9")


def endpoint(name: str, interface: str = "", *expected: bytes) -> HostEndpointUpdate:
    key = ResourceKey("HostEndpoint", "", name)
    return HostEndpointUpdate(name=name, key=key, interface=interface, expected_ips=expected)


@pytest.fixture
def claims() -> HostClaims:
    return HostClaims(RulesConfig())


def test_an_interface_that_lost_an_address_is_not_looked_at_for_it_any_more(claims: HostClaims) -> None:
    claims.on_interface("eth0", frozenset((NINE,)))
    assert claims.put(endpoint("h", "", NINE)) == {"eth0"}
    claims.on_interface("eth0", frozenset())
    assert claims.put(endpoint("h", "", NINE)) == set()


def test_the_interfaces_of_a_host_endpoint_are_in_order(claims: HostClaims) -> None:
    for name in ("eth2", "eth0", "eth1"):
        claims.on_interface(name, frozenset((NINE,)))
    claims.put(endpoint("h", "", NINE))
    assert claims.interfaces() == {"h": ("eth0", "eth1", "eth2")}
