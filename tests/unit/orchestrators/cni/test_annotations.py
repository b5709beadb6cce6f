"""What pods may ask for, and what is refused by name."""

from __future__ import annotations

import pytest

from calico.errors import InvalidInput
from calico.orchestrators.cni.protocol.netconf import FeatureControl
from calico.orchestrators.cni.workload.annotations import read_annotations

P = "cni.projectcalico.org/"
NONE, ALL = FeatureControl(), FeatureControl(ip_addrs_no_ipam=True, floating_ips=True)


def test_a_pods_own_annotations_come_before_those_of_its_namespace() -> None:
    asked = read_annotations(
        {P + "ipv4pools": '["mine"]'}, {P + "ipv4pools": '["shared"]', P + "ipv6pools": '["fd00::/64"]'}, NONE
    )
    assert (asked.ipv4_pools, asked.ipv6_pools) == (("mine",), ("fd00::/64",))


def test_everything_that_can_be_asked_for_is_read() -> None:
    annotations = {
        P + "ipFamilies": '["IPv4", "IPv6"]',
        P + "ipAddrs": '["10.0.0.1", "FD00::0001"]',
        P + "floatingIPs": '["198.51.100.1", "198.51.100.2"]',
        P + "hwAddr": "02:00:00:00:00:01",
        P + "allowedSourcePrefixes": '["192.0.2.0/24"]',
        "other/thing": "x",
    }
    asked = read_annotations(annotations, {}, ALL)
    assert asked.families == (4, 6)
    assert asked.addresses == ("10.0.0.1", "fd00::1")
    assert asked.floating == ("198.51.100.1", "198.51.100.2")
    assert (asked.mac, asked.source_prefixes) == ("02:00:00:00:00:01", ("192.0.2.0/24",))


@pytest.mark.parametrize(
    ("name", "value", "control"),
    [
        ("ipv4pools", "pool", NONE),
        ("ipv4pools", '{"a": 1}', NONE),
        ("ipAddrs", '["10.0.0.300"]', NONE),
        ("ipAddrs", '["10.0.0.1", "10.0.0.2"]', NONE),
        ("ipFamilies", '["ipv5"]', NONE),
        ("hwAddr", "01:00:00:00:00:01", NONE),
        ("hwAddr", "020000000001", NONE),
        ("ipAddrsNoIpam", '["10.0.0.1"]', NONE),
        ("floatingIPs", '["10.0.0.1"]', NONE),
    ],
)
def test_what_cannot_be_followed_is_named(name: str, value: str, control: FeatureControl) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_annotations({P + name: value}, {}, control)
    assert f"annotation {P}{name}" in str(refused.value)
