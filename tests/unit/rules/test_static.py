"""What holds whatever the datastore says: the boot guard, unknown interfaces, known connections, the host itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from calico.calc.messages import ActiveRule, EndpointRemove, ProfileUpdate

DENY_OUT = ProfileUpdate(name="deny-out", ingress=(ActiveRule(action="allow"),), egress=(ActiveRule(action="deny"),))
CLOSED = ProfileUpdate(name="closed", ingress=(), egress=(ActiveRule(action="allow"),))
FAMILIES = pytest.mark.parametrize("v6", [False, True], ids=["v4", "v6"])


@FAMILIES
def test_before_the_first_endpoint_nothing_passes_to_or_from_a_workload(host: Any, v6: bool) -> None:
    packet = host.between(1, 2, v6)
    assert not host.forwards("cali1", "eth0", packet)
    assert not host.forwards("eth0", "cali1", packet)
    assert not host.reached_from("cali1", packet)
    assert not host.sends_to("cali1", packet)
    assert host.forwards("eth0", "eth1", packet)


def test_every_prefix_marks_workload_interfaces(make_host: Any) -> None:
    host = make_host(interface_prefixes=("cali", "tap"))
    host.workload(1, interface="tap1")
    assert host.forwards("tap1", "eth0", host.between(1, 9))
    assert not host.forwards("tap2", "eth0", host.between(1, 9))
    assert not host.forwards("eth0", "cali9", host.between(1, 9))


def test_an_endpoint_that_is_removed_is_unknown_again(host: Any) -> None:
    one = host.workload(1)
    host.workload(2)
    assert host.forwards("cali1", "cali2", host.between(1, 2))
    host.say(EndpointRemove(id=one))
    assert not host.forwards("cali1", "cali2", host.between(1, 2))
    assert not host.forwards("cali2", "cali1", host.between(2, 1))
    assert not host.sends_to("cali1", host.between(9, 1))


def test_an_endpoint_cannot_claim_an_interface_that_is_not_a_workloads(host: Any) -> None:
    for interface in ("eth0", "cal", "cali-much-too-long", "cali\0eth0"):
        host.workload(1, interface=interface, profiles=())
    assert host.forwards("eth0", "eth1", host.between(1, 2))
    assert host.sends_to("eth0", host.between(1, 2))
    assert not host.state.elements("wl-from")


def test_of_two_endpoints_with_one_interface_the_lowest_id_has_it_in_whatever_order(host: Any) -> None:
    host.workload(2, interface="cali1")
    one = host.workload(1)
    assert not host.forwards("cali1", "eth0", host.between(2, 9))
    assert host.forwards("cali1", "eth0", host.between(1, 9))
    host.say(EndpointRemove(id=one))
    assert host.forwards("cali1", "eth0", host.between(2, 9))


def test_an_endpoint_that_moves_to_another_interface_leaves_the_old_one_unknown(host: Any) -> None:
    host.workload(1)
    host.workload(1, interface="cali7")
    assert host.forwards("cali7", "eth0", host.between(1, 9))
    assert not host.forwards("cali1", "eth0", host.between(1, 9))


@FAMILIES
def test_source_and_destination_must_both_allow(host: Any, v6: bool) -> None:
    host.say(DENY_OUT, CLOSED)
    host.workload(1)
    host.workload(2)
    assert host.forwards("cali1", "cali2", host.between(1, 2, v6))
    host.workload(1, profiles=("deny-out",))
    assert not host.forwards("cali1", "cali2", host.between(1, 2, v6))
    assert host.forwards("cali2", "cali1", host.between(2, 1, v6))
    host.workload(2, profiles=("closed",))
    host.workload(1)
    assert not host.forwards("cali1", "cali2", host.between(1, 2, v6))


@pytest.mark.parametrize("state", ["established", "related"])
def test_known_connections_pass_and_invalid_ones_do_not(host: Any, state: str) -> None:
    host.workload(1, profiles=())
    host.workload(2)
    assert host.forwards("cali2", "cali1", host.between(2, 1), ct_state=state)
    assert not host.forwards("cali2", "cali1", host.between(2, 1), ct_state="new")
    assert not host.forwards("cali2", "eth0", host.between(2, 9), ct_state="invalid")


@pytest.mark.parametrize(("action", "reached"), [("drop", False), ("accept", True), ("return", True)])
def test_after_egress_policy_the_configured_action_decides_about_the_host(
    make_host: Any, action: str, reached: bool
) -> None:
    host = make_host(endpoint_to_host=action)
    host.say(DENY_OUT)
    host.workload(1)
    assert host.reached_from("cali1", host.between(1, 9)) == reached
    host.workload(1, profiles=("deny-out",))
    assert not host.reached_from("cali1", host.between(1, 9))


def test_replies_to_the_host_and_neighbour_discovery_reach_it_whatever_the_policy(host: Any) -> None:
    host.workload(1, profiles=())
    assert host.reached_from("cali1", host.between(1, 9), ct_state="established")
    for kind in (130, 131, 132, 133, 135, 136):
        assert host.reached_from("cali1", host.between(1, 9, True, protocol=58, icmp=(kind, 0)))
    assert not host.reached_from("cali1", host.between(1, 9, True, protocol=58, icmp=(128, 0)))


def test_the_host_reaches_its_workloads_whatever_their_policy(host: Any) -> None:
    host.workload(1, profiles=())
    assert host.sends_to("cali1", host.between(9, 1))
    assert host.sends_to("eth0", host.between(9, 1))


def test_openstack_workloads_reach_dhcp_dns_and_metadata_of_their_host_only_in_openstack_mode(make_host: Any) -> None:
    wanted = {"protocol": 17, "sport": 68, "dport": 67}, {"protocol": 17, "dport": 53}
    metadata = {"src": "10.0.0.1", "dst": "169.254.169.254", "protocol": 6, "dport": 8775}
    plain = make_host()
    openstack = make_host(openstack=True, metadata_v4=bytes((169, 254, 169, 254)))
    for host in (plain, openstack):
        host.workload(1, profiles=())
        for fields in wanted:
            assert host.reached_from("cali1", host.between(1, 9, **fields)) == (host is openstack)
        assert host.reached_from("cali1", host.flow(**metadata)) == (host is openstack)
        assert not host.reached_from("cali1", host.between(1, 9, protocol=6, dport=8775))


@pytest.mark.parametrize(("openstack", "address"), [(True, b""), (False, bytes((169, 254, 169, 254)))])
def test_there_is_no_metadata_service_without_an_address_or_outside_of_openstack(
    make_host: Any, openstack: bool, address: bytes
) -> None:
    host = make_host(openstack=openstack, metadata_v4=address)
    assert "metadata service" not in [rule.comment for rule in host.state.chains["host-services"].rules]


@pytest.mark.parametrize(
    ("allow", "fields"),
    [
        ("allow_vxlan", {"protocol": 17, "dport": 4789}),
        ("allow_ipip", {"protocol": 4}),
    ],
)
@FAMILIES
def test_encapsulation_from_workloads_is_dropped_unless_allowed(
    make_host: Any, allow: str, fields: dict[str, int], v6: bool
) -> None:
    for config, passes in (({}, False), ({allow: True}, True)):
        host = make_host(**config)
        host.workload(1)
        assert host.forwards("cali1", "eth0", host.between(1, 9, v6, **fields)) == passes
        assert host.forwards("eth0", "cali1", host.between(9, 1, v6, **fields))


def test_vxlan_is_known_by_the_configured_port(make_host: Any) -> None:
    host = make_host(vxlan_port=8472)
    host.workload(1)
    assert not host.forwards("cali1", "eth0", host.between(1, 9, protocol=17, dport=8472))
    assert host.forwards("cali1", "eth0", host.between(1, 9, protocol=17, dport=4789))


@pytest.mark.parametrize(("v6", "server", "client"), [(False, 67, 68), (True, 547, 546)])
def test_a_workload_is_no_dhcp_server(host: Any, v6: bool, server: int, client: int) -> None:
    host.workload(1)
    host.workload(2)
    offer = host.between(1, 2, v6, protocol=17, sport=server, dport=client)
    assert not host.forwards("cali1", "cali2", offer)


DOCUMENTED = re.compile(r"^\| ((?:`[a-z-]+`(?:, )?)+) \| ([a-z, ]+) (−?\d+) \| ([^|]+) \|", re.M)


def test_base_chains_are_where_the_way_of_a_packet_says(host: Any) -> None:
    text = Path(__file__).parents[3].joinpath("docs/design/packet-path.md").read_text()
    documented: dict[str, tuple[str, int, bool]] = {}
    for names, hooks, priority, present in DOCUMENTED.findall(text):
        for name, hook in zip(re.findall("[a-z-]+", names), hooks.split(", "), strict=True):
            documented[name] = (hook, int(priority.replace("−", "-")), present.strip() == "always")
    found = {chain.name: chain.hook for chain in host.state.chains.values() if chain.hook}
    assert {name for name, (_, _, always) in documented.items() if always} == found.keys()
    for name, hook in found.items():
        assert (hook.hook, hook.priority, hook.policy, hook.type) == (*documented[name][:2], "accept", "filter")


def test_endpoints_become_elements_of_three_maps_and_three_sets(host: Any) -> None:
    declared = {d.name: (d.key, d.value, d.interval) for d in host.state.sets.values() if d.name.startswith("wl-")}
    assert declared == {
        "wl-from": (("ifname",), "verdict", False),
        "wl-to": (("ifname",), "verdict", False),
        "wl-interfaces": (("ifname",), None, False),
        "wl-foreign-src": (("ifname",), "verdict", False),
        "wl-src4": (("ifname", "ipv4_addr"), None, False),
        "wl-src6": (("ifname", "ipv6_addr"), None, False),
    }
