"""Connections of workloads in pools with outgoing NAT, seen from where they go."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from felix_nat import caught, peer_of, seen
from felix_world import World, resource

POOL = {4: "10.65.0.0/16", 6: "fd00:65::/64"}


def pool(name: str, cidr: str, *, nat: bool, **spec: object) -> dict[str, object]:
    return resource("IPPool", name, {"cidr": cidr, "natOutgoing": nat, "ipipMode": "Never", **spec})


def pools(*, nat: bool = True) -> list[dict[str, object]]:
    return [pool(f"pool{family}", cidr, nat=nat) for family, cidr in POOL.items()]


@pytest.fixture(scope="module")
def host() -> Iterator[World]:
    made = World(("a", "b"))
    try:
        made.start_etcd()
        made.cluster()
        made.start_felix()
        made.settle()
        yield made
    finally:
        made.close()


@pytest.fixture
def nat(host: World) -> World:
    """Both pools have outgoing NAT; no settings."""
    host.clear()
    host.apply(*pools())
    return host


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
def test_a_connection_to_outside_comes_from_the_hosts_address(nat: World, family: int, kind: int) -> None:
    address = nat.address("x", family)
    assert peer_of(nat, "a", "x", family, kind, address, 7001) == nat.address("h", family)


@pytest.mark.parametrize("protocol", ["icmp", "sctp:80"])
def test_ping_and_sctp_to_outside_come_from_the_hosts_address(nat: World, family: int, protocol: str) -> None:
    assert seen(nat, "a", "x", nat.packet(f"a>x {protocol}", family)).source == nat.address("h", family)


def test_the_answer_to_a_ping_comes_back_to_the_workload(nat: World, family: int) -> None:
    asked, answered = caught(nat, "a", nat.packet("a>x icmp", family), "x", "a")
    assert asked.source == nat.address("h", family)
    assert answered[:2] == (nat.address("x", family), nat.address("a", family))


def test_a_connection_to_another_address_of_a_pool_keeps_its_source(nat: World, family: int) -> None:
    assert peer_of(nat, "a", "b", family, socket.SOCK_STREAM, nat.address("b", family), 7002) == nat.address(
        "a", family
    )
    outside = pool("outside", "192.0.2.0/24" if family == 4 else "2001:db8::/64", nat=False, disabled=True)
    nat.apply(outside)
    assert seen(nat, "a", "x", nat.packet("a>x tcp:80", family)).source == nat.address("a", family)
    assert seen(nat, "a", "x", nat.packet("a>x2 tcp:80", family)).source == nat.address("h", family)


def test_without_outgoing_nat_nothing_is_translated_and_no_chain_is_there(nat: World, family: int) -> None:
    nat.apply(*pools(nat=False))
    assert seen(nat, "a", "x", nat.packet("a>x udp:53", family)).source == nat.address("a", family)
    assert "type nat" not in nat.ruleset()
    nat.apply(*pools())
    assert nat.ruleset().count("type nat") == 1
    assert seen(nat, "a", "x", nat.packet("a>x udp:53", family)).source == nat.address("h", family)


def test_what_comes_from_outside_and_what_the_host_sends_keep_their_source(nat: World, family: int) -> None:
    assert seen(nat, "x", "a", nat.packet("x>a tcp:80", family)).source == nat.address("x", family)
    assert seen(nat, "h", "x", nat.packet("h>x tcp:80", family)).source == nat.address("h", family)


def test_egress_policy_decides_before_the_source_is_translated(nat: World, family: int) -> None:
    rule = {"action": "Allow", "protocol": "TCP", "source": {"nets": [nat.net("a", family)]}}
    spec = {"selector": "app == 'a'", "types": ["Egress"], "egress": [rule]}
    nat.apply(resource("GlobalNetworkPolicy", "p", spec))
    nat.expect(family, "a>x tcp:80", "!a>x udp:80")


def test_masqueraded_ports_are_within_the_range_and_protocols_without_ports_are_translated_too(
    nat: World, family: int
) -> None:
    nat.restart_felix(FELIX_NATPORTRANGE="41000:41003")
    for protocol in ("tcp", "udp", "sctp"):
        ports = {seen(nat, "a", "x", nat.packet(f"a>x {protocol}:80", family)).sport for _ in range(3)}
        assert ports <= set(range(41000, 41004)), protocol
    assert seen(nat, "a", "x", nat.packet("a>x icmp", family)).source == nat.address("h", family)
    nat.restart_felix(FELIX_NATPORTRANGE="42000")
    assert seen(nat, "a", "x", nat.packet("a>x tcp:81", family)).sport == 42000
    nat.restart_felix()


def test_an_address_of_its_own_for_outgoing_connections_is_used_for_ipv4_only(nat: World, family: int) -> None:
    own = "192.0.2.50"
    nat.ip("h", f"addr add {own}/32 dev ext0")
    nat.restart_felix(FELIX_NATOUTGOINGADDRESS=own, FELIX_NATPORTRANGE="43000:43999")
    wanted = own if family == 4 else nat.address("h", 6)
    try:
        found = seen(nat, "a", "x", nat.packet("a>x tcp:80", family))
        assert found.source == wanted
        assert 43000 <= found.sport <= 43999
        assert seen(nat, "a", "x", nat.packet("a>x icmp", family)).source == wanted
        assert peer_of(nat, "a", "x", family, socket.SOCK_STREAM, nat.address("x", family), 7003) == wanted
    finally:
        nat.ip("h", f"addr del {own}/32 dev ext0")
        nat.restart_felix()


def test_connections_to_hosts_keep_their_source_when_hosts_are_excluded(nat: World, family: int) -> None:
    v4, v6 = nat.address("x", 4), nat.address("x", 6)
    node = resource("Node", "other", {"bgp": {"ipv4Address": f"{v4}/24", "ipv6Address": f"{v6}/64"}})
    nat.apply(node)
    assert seen(nat, "a", "x", nat.packet("a>x tcp:80", family)).source == nat.address("h", family)
    nat.restart_felix(FELIX_NATOUTGOINGEXCLUSIONS="IPPoolsAndHostIPs")
    assert seen(nat, "a", "x", nat.packet("a>x tcp:80", family)).source == nat.address("a", family)
    assert seen(nat, "a", "x", nat.packet("a>x2 tcp:80", family)).source == nat.address("h", family)
    nat.restart_felix()


@pytest.mark.parametrize(("name", "is_translated"), [("ext0", True), ("ext+", True), ("ext", False), ("eth+", False)])
def test_only_what_leaves_by_the_wanted_interface_is_masqueraded(
    nat: World, family: int, name: str, is_translated: bool
) -> None:
    nat.restart_felix(FELIX_IPTABLESNATOUTGOINGINTERFACEFILTER=name)
    found = seen(nat, "a", "x", nat.packet("a>x tcp:80", family))
    assert found.source == nat.address("h" if is_translated else "a", family)
    nat.restart_felix()
