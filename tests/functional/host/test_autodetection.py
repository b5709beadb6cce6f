"""Which address of a host each method chooses, on a host with many interfaces."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from calico.cli.node.autodetect import Found, detect
from calico.dataplane.netns import in_netns

INTERFACES = {
    "docker0": ("172.17.0.1/16", ""),
    "cali123": ("10.65.0.1/32", ""),
    "eno1": ("192.0.2.1/24", "2001:db8::1/64"),
    "eno2": ("198.51.100.1/25", "2001:db8:2::1/64"),
}


@pytest.fixture
def chosen(host) -> Callable[..., Found | None]:
    """The choice of a method on that host."""
    for name, addresses in INTERFACES.items():
        host.links.create_veth(name, f"{name}p")
        for address in filter(None, addresses):
            host.links.add_address(name, address)
    host.links.add_route("203.0.113.0/24", via="198.51.100.2")
    return lambda method, version=4: in_netns(host.name, lambda: detect(method, version, ("http://203.0.113.9:2379",)))


@pytest.mark.parametrize(
    ("method", "version", "address"),
    [
        ("first-found", 4, "192.0.2.1/24"),
        ("first-found", 6, "2001:db8::1/64"),
        ("interface=eno2", 4, "198.51.100.1/25"),
        ("interface=docker.*", 4, "172.17.0.1/16"),
        ("interface=nothing,no2", 4, "198.51.100.1/25"),
        ("skip-interface=eno1", 4, "198.51.100.1/25"),
        ("skip-interface=eno1", 6, "2001:db8:2::1/64"),
        ("cidr=198.51.100.0/24", 4, "198.51.100.1/25"),
        ("cidr=10.0.0.0/24,192.0.2.0/24", 4, "192.0.2.1/24"),
        ("can-reach=203.0.113.9", 4, "198.51.100.1/25"),
        ("datastore", 4, "198.51.100.1/25"),
    ],
)
def test_a_method_chooses_the_address_that_it_says_and_says_why(chosen, method, version, address) -> None:
    found = chosen(method, version)
    assert found is not None
    assert found.address == address
    assert found.because


@pytest.mark.parametrize(
    ("method", "version"),
    [("interface=wlan", 4), ("skip-interface=eno", 4), ("cidr=10.99.0.0/16", 4), ("can-reach=2001:db8:99::1", 6)],
)
def test_no_method_falls_back_to_another(chosen, method, version) -> None:
    assert chosen(method, version) is None
