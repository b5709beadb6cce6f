"""Workloads with an address of their own outside the pools: reached by it, and seen under it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest
from felix_nat import caught, peer_of, seen
from felix_packets import Packet
from felix_world import World, resource, until

from calico.model.forwards import PORT_FORWARDS

STREAM, DATAGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
KINDS = pytest.mark.parametrize("kind", [STREAM, DATAGRAM], ids=["tcp", "udp"])
EXTERNAL = {4: "198.18.0.1", 6: "2001:db8:f::1"}
MASQUERADED = [
    resource("IPPool", "pool4", {"cidr": "10.65.0.0/16", "natOutgoing": True, "ipipMode": "Never"}),
    resource("IPPool", "pool6", {"cidr": "fd00:65::/64", "natOutgoing": True}),
]


@pytest.fixture(scope="module")
def host() -> Iterator[World]:
    made = World()
    try:
        made.ip("x", "route add 198.18.0.0/24 via 192.0.2.1", "route add 2001:db8:f::/64 via 2001:db8::1")
        made.start_etcd()
        made.cluster()
        made.start_felix(FELIX_FLOATINGIPS="Enabled")
        made.settle()
        yield made
    finally:
        made.close()


def floating(world: World, name: str, external: dict[int, str] = EXTERNAL, **fields: object) -> dict[str, object]:
    """A workload's endpoint with an external address in each family."""
    nats = [{"internalIP": world.address(name, family), "externalIP": address} for family, address in external.items()]
    return world.endpoint(name, ipNATs=nats, **fields)


@pytest.fixture
def fip(host: World) -> World:
    """Workload a has the external addresses; its pools have outgoing NAT."""
    host.clear()
    host.apply(*MASQUERADED, floating(host, "a"))
    return host


def to_external(world: World, flow: str, family: int) -> Packet:
    """The packet of a flow to a, asking for the external address."""
    return world.packet(flow, family)._replace(destination=EXTERNAL[family])


def gets_through(world: World, flow: str, family: int) -> bool:
    source, target = flow.split(" ")[0].split(">")
    (found,) = world.passed((source, target, to_external(world, flow, family)))
    return found


@KINDS
def test_a_workload_is_reached_from_outside_by_its_external_address(fip: World, family: int, kind: int) -> None:
    assert peer_of(fip, "x", "a", family, kind, EXTERNAL[family], 7101) == fip.address("x", family)


@pytest.mark.parametrize("protocol", ["icmp", "sctp:80"])
def test_ping_and_sctp_to_the_external_address_reach_the_own_one(fip: World, family: int, protocol: str) -> None:
    found = seen(fip, "x", "a", to_external(fip, f"x>a {protocol}", family))
    assert found[:2] == (fip.address("x", family), fip.address("a", family))


def test_the_answer_to_a_ping_comes_from_the_external_address(fip: World, family: int) -> None:
    asked, answered = caught(fip, "x", to_external(fip, "x>a icmp", family), "a", "x")
    assert asked.destination == fip.address("a", family)
    assert answered[:2] == (EXTERNAL[family], fip.address("x", family))


@KINDS
def test_a_workload_of_the_same_host_reaches_it_and_is_seen_under_its_own_address(
    fip: World, family: int, kind: int
) -> None:
    assert peer_of(fip, "b", "a", family, kind, EXTERNAL[family], 7102) == fip.address("b", family)


@KINDS
def test_the_host_itself_reaches_it(fip: World, family: int, kind: int) -> None:
    assert peer_of(fip, "h", "a", family, kind, EXTERNAL[family], 7103) == fip.address("h", family)


@KINDS
def test_a_workload_reaches_itself_and_sees_its_external_address(fip: World, family: int, kind: int) -> None:
    assert peer_of(fip, "a", "a", family, kind, EXTERNAL[family], 7104) == EXTERNAL[family]


@KINDS
def test_connections_to_outside_come_from_the_external_address(fip: World, family: int, kind: int) -> None:
    assert peer_of(fip, "a", "x", family, kind, fip.address("x", family), 7105) == EXTERNAL[family]
    assert peer_of(fip, "b", "x", family, kind, fip.address("x", family), 7106) == fip.address("h", family)


def test_a_ping_to_outside_comes_from_the_external_address_and_is_answered(fip: World, family: int) -> None:
    asked, answered = caught(fip, "a", fip.packet("a>x icmp", family), "x", "a")
    assert asked.source == EXTERNAL[family]
    assert answered.destination == fip.address("a", family)


def test_connections_within_the_pools_come_from_the_own_address(fip: World, family: int) -> None:
    assert seen(fip, "a", "b", fip.packet("a>b tcp:80", family)).source == fip.address("a", family)


def test_the_own_address_is_reached_as_before(fip: World, family: int) -> None:
    fip.expect(family, "x>a tcp:80", "b>a udp:53", "h>a icmp")


def test_ingress_policy_judges_the_callers_own_address_and_the_workloads_own(fip: World, family: int) -> None:
    rule = {"action": "Allow", "source": {"selector": "app == 'b'"}, "destination": {"nets": [fip.net("a", family)]}}
    spec = {"selector": "app == 'a'", "types": ["Ingress"], "ingress": [rule]}
    fip.apply(resource("GlobalNetworkPolicy", "p", spec))
    assert gets_through(fip, "b>a tcp:80", family)
    assert not gets_through(fip, "c>a tcp:80", family)
    assert not gets_through(fip, "x>a tcp:80", family)


@pytest.mark.parametrize("is_own", [True, False], ids=["own", "external"])
def test_egress_policy_of_the_caller_judges_the_translated_destination(fip: World, family: int, is_own: bool) -> None:
    address = fip.address("a", family) if is_own else EXTERNAL[family]
    rule = {"action": "Allow", "destination": {"nets": [f"{address}/{32 if family == 4 else 128}"]}}
    spec = {"selector": "app == 'b'", "types": ["Egress"], "egress": [rule]}
    fip.apply(resource("GlobalNetworkPolicy", "p", spec))
    assert gets_through(fip, "b>a tcp:80", family) == is_own


def test_egress_policy_judges_the_own_source_of_what_goes_outside(fip: World, family: int) -> None:
    rule = {"action": "Allow", "protocol": "UDP", "source": {"nets": [fip.net("a", family)]}}
    spec = {"selector": "app == 'a'", "types": ["Egress"], "egress": [rule]}
    fip.apply(resource("GlobalNetworkPolicy", "p", spec))
    fip.expect(family, "a>x udp:80", "!a>x tcp:80")


def test_nobody_sends_from_an_external_address(fip: World, family: int) -> None:
    packet = fip.packet("a>b tcp:80", family)._replace(source=EXTERNAL[family])
    assert fip.passed(("a", "b", packet), ("b", "x", packet._replace(destination=fip.address("x", family)))) == [
        False,
        False,
    ]


def test_a_route_leads_to_the_external_address_for_bird_to_learn(fip: World, family: int) -> None:
    route = fip.show("h", f"-{family} route show {EXTERNAL[family]} proto 80")
    assert "dev calia" in route


def test_a_removed_external_address_is_cut_off_and_free(fip: World, family: int) -> None:
    address = EXTERNAL[family]
    with fip.socket("a", family, STREAM) as listener, fip.socket("x", family, STREAM) as client:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((fip.address("a", family), 7107))
        listener.listen()
        client.connect((address, 7107))
        server, _ = listener.accept()
        with server:
            client.sendall(b"before")
            assert server.recv(100) == b"before"
            fip.apply(fip.endpoint("a"))
            server.settimeout(0.5)
            client.sendall(b"after")
            with pytest.raises(TimeoutError):
                server.recv(100)
    assert fip.show("h", f"-{family} route show {address}") == ""
    assert not gets_through(fip, "x>a tcp:80", family)
    fip.expect(family, "x>a tcp:80")


def test_an_external_address_moves_to_another_workload_with_its_next_connection(fip: World, family: int) -> None:
    packet = to_external(fip, "x>a udp:5000:6000", family)
    assert seen(fip, "x", "a", packet).destination == fip.address("a", family)
    fip.apply(fip.endpoint("a"), floating(fip, "c"))
    assert seen(fip, "x", "c", packet).destination == fip.address("c", family)
    assert fip.passed(("x", "a", packet)) == [False]
    assert peer_of(fip, "c", "x", family, STREAM, fip.address("x", family), 7108) == EXTERNAL[family]
    assert peer_of(fip, "a", "x", family, STREAM, fip.address("x", family), 7109) == fip.address("h", family)


def test_an_external_address_moves_to_another_address_of_its_workload(fip: World, family: int) -> None:
    second, length = ("10.65.8.8", 32) if family == 4 else ("fd00:65::88", 128)
    packet = to_external(fip, "x>a udp:5001:6001", family)
    assert seen(fip, "x", "a", packet).destination == fip.address("a", family)
    nets = [fip.net("a", 4), fip.net("a", 6), f"{second}/{length}"]
    fip.apply(fip.endpoint("a", ipNetworks=nets, ipNATs=[{"internalIP": second, "externalIP": EXTERNAL[family]}]))
    assert seen(fip, "x", "a", packet).destination == second


def test_of_two_claimants_the_first_by_name_has_the_address_and_the_other_is_named(fip: World, family: int) -> None:
    fip.apply(floating(fip, "b"))
    problem = fip.conditions("resource-invalid")["WorkloadEndpoint default/h1-cni-b-eth0"]
    assert EXTERNAL[family] in problem
    assert gets_through(fip, "x>a tcp:80", family)
    assert not gets_through(fip, "x>b tcp:80", family)
    fip.apply(fip.endpoint("a"))
    assert gets_through(fip, "x>b tcp:80", family)
    assert fip.conditions("resource-invalid") == {}


def test_the_chains_go_with_the_last_external_address(fip: World) -> None:
    assert "fip-dnat4" in fip.ruleset()
    fip.apply(fip.endpoint("a"))
    assert "fip-" not in fip.ruleset()
    assert fip.ruleset().count("type nat") == 1


def test_workloads_reach_openstacks_metadata_service_whatever_policy_says_and_nothing_else_of_the_host(
    fip: World,
) -> None:
    fip.apply(resource("GlobalNetworkPolicy", "p", {"selector": "all()", "types": ["Ingress", "Egress"]}))
    fip.restart_felix(FELIX_METADATAPORT="7110")
    try:
        with fip.socket("h", 4, STREAM) as server, fip.socket("a", 4, STREAM) as client:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("127.0.0.1", 7110))
            server.listen()
            client.connect(("169.254.169.254", 80))
            accepted, peer = server.accept()
            with accepted:
                assert peer[0] == fip.address("a", 4)
                accepted.sendall(b"metadata")
                assert client.recv(100) == b"metadata"
        fip.expect(4, "!a>h tcp:7110", "!a>h tcp:80", "!a>x tcp:80")
    finally:
        fip.restart_felix(FELIX_FLOATINGIPS="Enabled")


def test_without_the_setting_nothing_is_translated(fip: World, family: int) -> None:
    fip.restart_felix()
    try:
        assert not gets_through(fip, "x>a tcp:80", family)
        fip.expect(family, "x>a tcp:80")
        assert seen(fip, "a", "x", fip.packet("a>x tcp:80", family)).source == fip.address("h", family)
    finally:
        fip.restart_felix(FELIX_FLOATINGIPS="Enabled")


def test_in_an_openstack_cluster_they_are_always_enabled(fip: World, family: int) -> None:
    information = {"clusterGUID": "f" * 32, "datastoreReady": True}
    fip.restart_felix()
    try:
        kind = {**information, "clusterType": "openstack,bgp"}
        fip.apply(resource("ClusterInformation", "default", kind), settle=False)
        until(lambda: "fip-dnat4" in fip.ruleset(), "floating addresses were programmed")
        fip.settle()
        assert gets_through(fip, "x>a tcp:80", family)
    finally:
        fip.apply(resource("ClusterInformation", "default", information), settle=False)
        fip.restart_felix(FELIX_FLOATINGIPS="Enabled")


def forwarding(world: World, name: str, *ports: tuple[str, int, int], **fields: object) -> dict[str, object]:
    """A workload's endpoint with ports (protocol, external, own) of the external address of each family."""
    forwards = [
        {"protocol": protocol, "externalIP": EXTERNAL[family], "externalPort": external,
         "internalIP": world.address(name, family), "internalPort": own}
        for protocol, external, own in ports for family in (4, 6)
    ]  # fmt: skip
    made = world.endpoint(name, **fields)
    made["metadata"]["annotations"] = {PORT_FORWARDS: json.dumps(forwards)}
    return made


@pytest.fixture
def ports(host: World) -> World:
    """Workloads a and b share the external addresses: tcp and udp 2222 is a's 7201, tcp 2223 b's."""
    host.clear()
    host.apply(
        forwarding(host, "a", ("tcp", 2222, 7201), ("udp", 2222, 7201)), forwarding(host, "b", ("tcp", 2223, 7201))
    )
    return host


@KINDS
@pytest.mark.parametrize("client", ["x", "b", "h"])
def test_a_forwarded_port_reaches_the_workloads_own_and_is_answered(
    ports: World, family: int, kind: int, client: str
) -> None:
    """From outside, from another workload and from the host; the workload sees who asks."""
    peer = peer_of(ports, client, "a", family, kind, EXTERNAL[family], 7201, asked=2222)
    assert peer == ports.address(client, family)


def test_workloads_share_an_external_address(ports: World, family: int) -> None:
    assert peer_of(ports, "x", "b", family, STREAM, EXTERNAL[family], 7201, asked=2223) == ports.address("x", family)
    assert ports.conditions("resource-invalid") == {}


def test_policy_sees_the_own_port_and_the_client(ports: World, family: int) -> None:
    def arrives() -> bool:
        packet = to_external(ports, "x>a tcp:2222", family)
        (found,) = ports.passed(("x", "a", packet))
        return found

    def policy(port: int, source: str) -> dict[str, object]:
        rule = {"action": "Allow", "protocol": "TCP", "source": {"nets": [source]}, "destination": {"ports": [port]}}
        return resource("GlobalNetworkPolicy", "p", {"selector": "all()", "types": ["Ingress"], "ingress": [rule]})

    client = f"{ports.address('x', family)}/{32 if family == 4 else 128}"
    ports.apply(policy(7201, client))
    assert arrives()
    ports.apply(policy(2222, client))
    assert not arrives()
    ports.apply(policy(7201, f"{ports.address('b', family)}/{32 if family == 4 else 128}"))
    assert not arrives()


def test_other_ports_of_the_address_and_other_protocols_are_translated_to_nobody(ports: World, family: int) -> None:
    """What is not forwarded may get to a tap, but not to a workload's address."""
    for flow in ("x>a tcp:2224", "x>a udp:2223", "x>a icmp"):
        packet = to_external(ports, flow, family)
        for machine in ("a", "b"):
            (found,) = ports.passed(("x", machine, packet))
            assert not found or seen(ports, "x", machine, packet).destination == EXTERNAL[family], flow


def test_of_two_claimants_of_a_port_the_first_has_it_and_the_other_is_named(ports: World, family: int) -> None:
    ports.apply(forwarding(ports, "b", ("tcp", 2222, 7201)))
    problem = ports.conditions("resource-invalid")["WorkloadEndpoint default/h1-cni-b-eth0"]
    assert f"tcp port 2222 of {EXTERNAL[family]}" in problem
    assert peer_of(ports, "x", "a", family, STREAM, EXTERNAL[family], 7201, asked=2222) == ports.address("x", family)
    ports.apply(ports.endpoint("a"))
    assert peer_of(ports, "x", "b", family, STREAM, EXTERNAL[family], 7201, asked=2222) == ports.address("x", family)


def test_the_maps_go_with_the_last_forwarded_port(ports: World) -> None:
    assert "pf-addr4" in ports.ruleset()
    ports.apply(ports.endpoint("a"), ports.endpoint("b"))
    assert "pf-" not in ports.ruleset()
