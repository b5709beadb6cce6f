"""Requirements S6 to S8: a packet is from who it says, and a workload speaks for itself only."""

from __future__ import annotations

from typing import Any

import pytest

from calico.rules.evaluator.evaluate import Packet, forward

FAMILIES = pytest.mark.parametrize("v6", [False, True], ids=["v4", "v6"])


@FAMILIES
def test_a_source_is_dropped_unless_its_interface_owns_it(host: Any, v6: bool) -> None:
    host.workload(1)
    host.workload(2)
    for source in (2, 3):
        assert not host.forwards("cali1", "eth0", host.between(source, 9, v6))
        assert not host.reached_from("cali1", host.between(source, 9, v6), ct_state="established")
    assert host.forwards("cali1", "eth0", host.between(1, 9, v6))


@FAMILIES
def test_fragments_are_held_to_their_source_too(host: Any, v6: bool) -> None:
    host.workload(1)
    assert host.forwards("cali1", "eth0", host.between(1, 9, v6, fragment=True))
    assert not host.forwards("cali1", "eth0", host.between(2, 9, v6, fragment=True))


def test_an_address_that_an_endpoint_loses_is_spoofed_from_then_on(host: Any) -> None:
    host.workload(1, nets=("10.0.0.1", "10.0.0.7"))
    assert host.forwards("cali1", "eth0", host.between(7, 9))
    host.workload(1, nets=("10.0.0.1",))
    assert not host.forwards("cali1", "eth0", host.between(7, 9))


def test_a_network_in_an_endpoint_lends_it_no_source(host: Any) -> None:
    host.workload(1, nets=("10.0.0.0/24",))
    assert not host.forwards("cali1", "eth0", host.between(1, 9))


def test_other_interfaces_of_the_host_are_none_of_our_business(host: Any) -> None:
    assert host.forwards("eth0", "eth1", host.flow("9.9.9.9", "8.8.8.8"))
    assert host.reached_from("eth0", host.flow("9.9.9.9", "8.8.8.8"), ct_state="invalid")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.255.255.254"])
def test_the_hosts_loopback_is_out_of_reach_even_where_workloads_may_reach_their_host(
    make_host: Any, address: str
) -> None:
    host = make_host(endpoint_to_host="accept")
    host.workload(1)
    assert host.reached_from("cali1", host.flow("10.0.0.1", "10.0.255.1"))
    for state in ("new", "established"):
        assert not host.reached_from("cali1", host.flow("10.0.0.1", address), ct_state=state)


@pytest.mark.parametrize("options", [b"\x83\x04\x04\0", b"\x89\x04\x04\0", b"\x01\x83\x03\x04"])
def test_ipv4_source_routes_are_refused(host: Any, options: bytes) -> None:
    host.workload(1)
    assert not host.forwards("cali1", "eth0", host.between(1, 9, options=options))


def test_ipv6_routing_headers_are_refused_and_other_extension_headers_are_not(host: Any) -> None:
    host.workload(1)
    routing, hop_by_hop = (43, b"\0\0\x01\0\0\0\0"), (0, bytes(7))
    assert not host.forwards("cali1", "eth0", host.between(1, 9, True, extensions=(routing,)))
    assert not host.forwards("cali1", "eth0", host.between(1, 9, True, extensions=(hop_by_hop, routing)))
    assert host.forwards("cali1", "eth0", host.between(1, 9, True, extensions=(hop_by_hop,)))


@pytest.mark.parametrize(("v6", "kind"), [(True, 134), (True, 137), (False, 5)])
def test_router_advertisements_and_redirects_are_dropped(make_host: Any, v6: bool, kind: int) -> None:
    host = make_host(endpoint_to_host="accept")
    host.workload(1)
    message = host.between(1, 9, v6, protocol=58 if v6 else 1, icmp=(kind, 0), hop_limit=255)
    for state in ("new", "related", "untracked"):
        assert not host.reached_from("cali1", message, ct_state=state)
        assert not host.forwards("cali1", "cali2", message, ct_state=state)
    link_local = host.flow("fe80::1", "ff02::1", protocol=58, icmp=(134, 0), hop_limit=255)
    assert not host.reached_from("cali1", link_local)


@pytest.mark.parametrize(
    ("src", "dst", "kind", "hop_limit", "passes"),
    [
        ("::", "ff02::1:ff00:1", 135, 255, True),
        ("::", "ff02::2", 133, 255, True),
        ("::", "fd00::9", 135, 255, False),
        ("::", "ff02::1", 136, 255, False),
        ("fe80::1", "fe80::2", 135, 255, True),
        ("fe80::1", "fd00::9", 135, 255, True),
        ("fe80::1", "fe80::2", 136, 255, True),
        ("fe80::1", "fe80::2", 136, 64, False),
        ("fe80::1", "ff02::2", 131, 1, True),
        ("fe80::1", "fe80::2", 131, 1, False),
        ("fe80::1", "fe80::2", 128, 255, False),
        ("fd00::77", "fe80::2", 135, 255, False),
    ],
)
def test_neighbour_discovery_needs_no_own_source_but_its_exact_form(
    host: Any, src: str, dst: str, kind: int, hop_limit: int, passes: bool
) -> None:
    host.workload(1)
    message = host.flow(src, dst, protocol=58, icmp=(kind, 0), hop_limit=hop_limit)
    assert host.reached_from("cali1", message) == passes


@pytest.mark.parametrize(
    ("src", "dst", "sport", "dport", "passes"),
    [
        ("0.0.0.0", "255.255.255.255", 68, 67, True),
        ("0.0.0.0", "10.0.0.9", 68, 67, False),
        ("0.0.0.0", "255.255.255.255", 67, 68, False),
        ("0.0.0.0", "255.255.255.255", 68, 69, False),
        ("fe80::1", "ff02::1:2", 546, 547, True),
        ("fe80::1", "ff02::1", 546, 547, False),
        ("fe80::1", "ff02::1:2", 547, 546, False),
    ],
)
def test_dhcp_discovery_is_allowed_from_client_to_server_only(
    make_host: Any, src: str, dst: str, sport: int, dport: int, passes: bool
) -> None:
    host = make_host(openstack=True)
    host.workload(1, profiles=())
    assert host.reached_from("cali1", host.flow(src, dst, protocol=17, sport=sport, dport=dport)) == passes


def test_dhcp_discovery_reaches_the_host_in_openstack_mode_only(host: Any) -> None:
    host.workload(1)
    discovery = host.flow("0.0.0.0", "255.255.255.255", protocol=17, sport=68, dport=67)
    assert not host.reached_from("cali1", discovery)


@pytest.mark.parametrize(
    ("src", "dst", "fields", "passes"),
    [
        ("fe80::1", "fe80::a9fe:a9fe", {"dport": 80}, True),
        ("fd00::1", "fe80::a9fe:a9fe", {"dport": 80}, True),
        ("fd00::9", "fe80::a9fe:a9fe", {"dport": 80}, False),
        ("::", "fe80::a9fe:a9fe", {"dport": 80}, False),
        ("fe80::1", "fe80::a9fe:a9fe", {"dport": 8080}, False),
        ("fe80::1", "fe80::a9fe:a9fe", {"dport": 80, "protocol": 17}, False),
        ("fe80::1", "fe80::a9fe:a9fe", {"dport": 80, "extensions": ((0, bytes(7)),)}, False),
        ("fe80::1", "fe80::a9fe:a9ff", {"dport": 80}, False),
        ("fe80::1", "fd00::9", {"dport": 80}, False),
    ],
)
def test_instances_ask_for_metadata_by_ipv6_from_their_link_local_address(
    make_host: Any, src: str, dst: str, fields: dict[str, Any], passes: bool
) -> None:
    metadata = {"openstack": True, "metadata_v4": bytes((127, 0, 0, 1))}
    for config, there in ((metadata, True), ({"openstack": True}, False), ({**metadata, "openstack": False}, False)):
        host = make_host(**config)
        host.workload(1, profiles=())
        flow = host.flow(src, dst, **{"protocol": 6, **fields})
        assert host.reached_from("cali1", flow) == (passes and there)


@pytest.mark.parametrize(
    ("src", "dst", "hop_limit", "kinds"),
    [
        ("::", "ff02::1", 255, {131, 133, 135, 143}),
        ("::", "fd00::9", 255, set()),
        ("::", "ff05::1", 255, set()),
        ("fe80::1", "fe80::2", 255, {133, 135, 136}),
        ("fe80::1", "fe80::2", 254, set()),
        ("fe80::1", "ff02::16", 1, {131, 132, 143}),
        ("fe80::1", "ff02::16", 255, {131, 132, 133, 135, 136, 143}),
        ("fe7f::1", "ff02::16", 255, set()),
        ("fec0::1", "ff02::16", 255, set()),
    ],
)
def test_of_all_icmpv6_only_what_configures_addresses_needs_no_own_source(
    make_host: Any, src: str, dst: str, hop_limit: int, kinds: set[int]
) -> None:
    host = make_host(endpoint_to_host="accept")
    host.workload(1)

    def reaches(kind: int) -> bool:
        return host.reached_from("cali1", host.flow(src, dst, protocol=58, icmp=(kind, 0), hop_limit=hop_limit))

    assert {kind for kind in range(256) if reaches(kind)} == kinds


def quoting(host: Any, v6: bool, kind: int, source: int, destination: int) -> bytes:
    """An ICMP error of workload 1 to workload 9 about a packet."""
    outer = host.between(1, 9, v6, protocol=58 if v6 else 1, icmp=(kind, 0))
    return outer.data() + host.between(source, destination, v6).data()


@FAMILIES
def test_an_icmp_error_must_be_about_a_packet_to_the_one_who_sends_it(host: Any, v6: bool) -> None:
    host.workload(1)
    errors = range(128) if v6 else (3, 4, 11, 12)
    for kind in range(256):
        for destination in (1, 2):
            data = quoting(host, v6, kind, 9, destination)
            packet = Packet(data=data, iifname="cali1", oifname="eth0", ct_state="related")
            passes = forward(host.state, packet).verdict == "accept"
            forged = kind in errors and destination != 1
            router = kind in ((134, 137) if v6 else (5,))
            assert passes == (not forged and not router), (kind, destination)


@FAMILIES
def test_an_icmp_error_that_quotes_no_more_than_addresses_is_held_to_them_too(host: Any, v6: bool) -> None:
    host.workload(1)
    for destination, passes in ((1, True), (2, False)):
        quoted = host.between(9, destination, v6).data()[: 40 if v6 else 20]
        data = host.between(1, 9, v6, protocol=58 if v6 else 1, icmp=(3, 0)).data() + quoted
        packet = Packet(data=data, iifname="cali1", oifname="eth0", ct_state="related")
        assert (forward(host.state, packet).verdict == "accept") == passes


@pytest.mark.parametrize(
    ("fields", "by_one_rule"),
    [
        ({}, True),
        ({"protocol": 17}, True),
        ({"hop_limit": 255}, True),
        ({"sport": 0, "dport": 0}, True),
        ({"v6": True}, True),
        ({"v6": True, "protocol": 17}, True),
        ({"v6": True, "protocol": 8}, True),
        ({"protocol": 132}, True),
        ({"protocol": 1}, False),
        ({"options": b"\1\1\1\1"}, False),
        ({"v6": True, "protocol": 58, "icmp": (128, 0)}, False),
        ({"v6": True, "extensions": ((0, bytes(7)),)}, False),
        ({"v6": True, "extensions": ((43, bytes(7)),)}, False),
    ],
)
def test_nearly_every_packet_is_accepted_by_the_first_rule_that_sees_it(
    host: Any, fields: dict[str, Any], by_one_rule: bool
) -> None:
    host.workload(1)
    outcome = host.forward("cali1", "eth0", host.between(1, 9, **fields))
    met = [rule for chain, rule in outcome.trace if chain == "antispoof"]
    assert (met == [f"ordinary IPv{6 if fields.get('v6') else 4}, own address"]) == by_one_rule
    spoofed = host.forward("cali1", "eth0", host.between(2, 9, **fields))
    assert spoofed.trace[-1] == ("antispoof", "spoofed source")
