"""Others' packet filters beside ours: service proxies by iptables-nft and nft work, and policy holds behind them."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from felix_nat import peer_of, seen
from felix_packets import build
from felix_world import World, resource
from foreign_tables import PORT, SERVICE, SERVICE_NETS, TARGET_PORT, Proxy

POOLS = [
    resource("IPPool", "pool4", {"cidr": "10.65.0.0/16", "natOutgoing": True, "ipipMode": "Never"}),
    resource("IPPool", "pool6", {"cidr": "fd00:65::/64", "natOutgoing": True}),
]
KINDS = pytest.mark.parametrize("kind", ["iptables", "nft"])


@pytest.fixture(scope="module")
def host() -> Iterator[World]:
    made = World()
    try:
        via = {4: made.address("h", 4), 6: made.address("h", 6)}
        made.ip("x", *(f"route add {net} via {via[family]}" for family, net in SERVICE_NETS.items()))
        made.start_etcd()
        made.cluster()
        made.start_felix()
        made.settle()
        yield made
    finally:
        made.close()


@pytest.fixture
def shared(host: World) -> Iterator[World]:
    """A host with outgoing NAT on which both proxies are at work for both families."""
    host.clear()
    host.apply(*POOLS)
    proxy = Proxy(host)
    try:
        for kind in ("iptables", "nft"):
            for family in (4, 6):
                proxy.install(kind, family)
        yield host
    finally:
        proxy.remove()


def served_by(world: World, source: str, kind: str, family: int, tries: int = 4) -> set[str]:
    """The workloads that connections to a service reach."""
    packet = world.packet(f"{source}>a tcp:{PORT}", family)._replace(destination=SERVICE[kind, family])
    reached = set()
    for attempt in range(tries):
        tag = world.new_tag()
        world.ports[source].send(build(packet._replace(sport=packet.sport + attempt), tag))
        reached |= {name for name in "ab" if world.arrived([name], [tag], None) == [True]}
    return reached


def allow(selector: str, direction: str, side: str, entity: dict[str, object]) -> dict[str, object]:
    rule = {"action": "Allow", "protocol": "TCP", side: entity}
    return resource("GlobalNetworkPolicy", "p", {"selector": selector, "types": [direction], direction.lower(): [rule]})


@KINDS
def test_a_service_leads_workloads_and_outside_to_all_its_endpoints(shared: World, family: int, kind: str) -> None:
    assert served_by(shared, "c", kind, family) == {"a", "b"}
    assert served_by(shared, "x", kind, family) == {"a", "b"}


@KINDS
def test_a_connection_through_a_service_is_answered(shared: World, family: int, kind: str) -> None:
    with shared.socket("b", family, socket.SOCK_STREAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((shared.address("b", family), TARGET_PORT))
        other.listen()
        with shared.socket("a", family, socket.SOCK_STREAM) as one, shared.socket("c", family, socket.SOCK_STREAM) as c:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((shared.address("a", family), TARGET_PORT))
            one.listen()
            c.connect((SERVICE[kind, family], PORT))
            assert c.getpeername()[0] == SERVICE[kind, family]


def test_our_own_translation_works_beside_it(shared: World, family: int) -> None:
    outside = shared.address("x", family)
    assert peer_of(shared, "a", "x", family, socket.SOCK_STREAM, outside, 7201) == shared.address("h", family)
    assert seen(shared, "a", "c", shared.packet("a>c tcp:80", family)).source == shared.address("a", family)


@KINDS
def test_ingress_policy_holds_on_the_workloads_own_address_and_port(shared: World, family: int, kind: str) -> None:
    target = {"nets": [shared.net("a", family), shared.net("b", family)], "ports": [TARGET_PORT]}
    policy = allow("app in {'a', 'b'}", "Ingress", "source", {"selector": "app == 'c'"})
    policy["spec"]["ingress"][0]["destination"] = target
    shared.apply(policy)
    assert served_by(shared, "c", kind, family) == {"a", "b"}
    assert served_by(shared, "d", kind, family) == set()
    assert served_by(shared, "x", kind, family) == set()


@KINDS
def test_policy_of_one_endpoint_leaves_the_other_to_the_service(shared: World, family: int, kind: str) -> None:
    shared.apply(resource("GlobalNetworkPolicy", "p", {"selector": "app == 'b'", "types": ["Ingress"]}))
    assert served_by(shared, "c", kind, family) == {"a"}
    assert served_by(shared, "x", kind, family) == {"a"}


@KINDS
def test_egress_policy_judges_the_endpoint_behind_the_service(shared: World, family: int, kind: str) -> None:
    shared.apply(allow("app == 'c'", "Egress", "destination", {"selector": "app == 'a'", "ports": [TARGET_PORT]}))
    assert served_by(shared, "c", kind, family) == {"a"}
    service = f"{SERVICE[kind, family]}/{32 if family == 4 else 128}"
    shared.apply(allow("app == 'c'", "Egress", "destination", {"nets": [service]}))
    assert served_by(shared, "c", kind, family) == set()


def test_neither_side_changes_the_others_tables(shared: World) -> None:
    proxy = Proxy(shared)
    theirs = proxy.listing()
    assert "SERVICES" in theirs
    assert "kube-like" in theirs
    shared.apply(resource("GlobalNetworkPolicy", "p", {"selector": "all()", "types": ["Ingress", "Egress"]}))
    shared.restart_felix()
    shared.delete("GlobalNetworkPolicy", "p")
    assert proxy.listing() == theirs
    ours = shared.ruleset()
    proxy.run("iptables-nft", "-t", "nat", "-N", "ANOTHER")
    proxy.run("nft", "add", "chain", "ip", "kube-like", "another")
    assert shared.ruleset() == ours


def test_when_somebody_flushes_the_whole_ruleset_ours_stays_in_force(shared: World, family: int) -> None:
    shared.apply(resource("GlobalNetworkPolicy", "p", {"selector": "app == 'b'", "types": ["Ingress"]}))
    ours = shared.ruleset()
    proxy = Proxy(shared)
    proxy.remove()
    assert proxy.listing() == ""
    assert shared.ruleset() == ours
    shared.expect(family, "!c>b tcp:8080", "c>a tcp:8080")
    assert seen(shared, "a", "x", shared.packet("a>x tcp:80", family)).source == shared.address("h", family)
    assert served_by(shared, "c", "nft", family, tries=1) == set()
