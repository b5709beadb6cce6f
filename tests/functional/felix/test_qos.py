"""Limits of endpoints from the datastore to the packets: bandwidth, packet rate, connections and DSCP."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from felix_world import World, resource

from calico.dataplane.bandwidth.redirectdriver import PROBE
from calico.dataplane.netns import in_netns

SENT, BURST, SLACK = 300, 40, 8
"""Packets sent at once, packets in the bucket, and what the rate of one a second may add meanwhile."""

OTHERS = 15
"""Packets that a bucket may have spent on ICMP errors and neighbour discovery."""


def limit(world: World, name: str, *, annotations: dict[str, str] | None = None, **controls: Any) -> None:
    """Give an endpoint these limits and no others."""
    document = world.endpoint(name, **({"qosControls": controls} if controls else {}))
    if annotations is not None:
        document["metadata"]["annotations"] = annotations
    world.apply(document)


def burst(world: World, flow: str, family: int, least: int = SENT) -> int:
    """How many of many packets of one flow, sent at once, arrive; waits for the least that should."""
    packet = world.packet(flow, family)
    source, target = flow.split(" ")[0].split(">")
    return sum(world.passed(*[(source, target, packet)] * SENT, expected=least))


def tc(world: World, name: str) -> str:
    command = [*world.enter("h"), "tc", "qdisc", "show", "dev", name]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_packet_rate_holds_for_its_direction_and_follows_the_resource(world: World, family: int) -> None:
    limit(world, "b", ingressPacketRate=1, ingressPacketBurst=BURST)
    assert BURST - OTHERS <= burst(world, "a>b udp:7000:7001", family, BURST - OTHERS) <= BURST + SLACK
    assert burst(world, "b>a udp:7001:7000", family) == SENT
    limit(world, "b", egressPacketRate=1, egressPacketBurst=BURST)
    assert burst(world, "a>b udp:7000:7001", family) == SENT
    assert BURST - OTHERS <= burst(world, "b>x udp:7001:7000", family, BURST - OTHERS) <= BURST + SLACK
    limit(world, "b")
    assert burst(world, "b>x udp:7001:7000", family) == SENT


def test_annotations_of_the_endpoint_limit_it_and_qos_controls_win(world: World) -> None:
    annotations = {"qos.projectcalico.org/ingressPacketRate": "1", "qos.projectcalico.org/ingressPacketBurst": "10"}
    limit(world, "b", annotations=annotations)
    assert 1 <= burst(world, "a>b udp:7000:7001", 4, 1) <= 10 + SLACK
    limit(world, "b", annotations=annotations, ingressPacketBurst=BURST)
    assert BURST - OTHERS <= burst(world, "a>b udp:7000:7001", 4, BURST - OTHERS) <= BURST + SLACK


def test_a_limit_out_of_bounds_is_named_and_costs_only_itself(world: World, family: int) -> None:
    key = "workloadendpoints/default/h1-cni-b-eth0"
    (stored,) = [json.loads(text) for name, text in world.list("/calico/resources").items() if name.endswith(key)]
    bounds = {"ingressBandwidth": 5, "egressBandwidth": "much", "ingressPacketRate": 1, "ingressPacketBurst": 10}
    stored["spec"]["qosControls"] = {**bounds, "newer": 1}
    world.put_raw({key: json.dumps(stored)})
    (said,) = world.conditions("resource-invalid").values()
    assert "ingressBandwidth" in said
    assert "egressBandwidth" in said
    assert 1 <= burst(world, "a>b udp:7000:7001", family, 1) <= 10 + SLACK
    world.expect(family, "b>a tcp:80")
    limit(world, "b")
    assert not world.conditions("resource-invalid")


def test_bandwidth_is_shaped_both_ways_and_follows_the_resource(world: World, family: int) -> None:
    """A bucket of 40 small packets; 8 kbit/s add some twenty of them a second."""
    size = 14 + (20 if family == 4 else 40) + 8 + 8
    assert not world.conditions("feature-missing")
    for side, there, back in (
        ("ingress", "a>b udp:7000:7001", "b>a udp:7001:7000"),
        ("egress", "b>a udp:7001:7000", "a>b udp:7000:7001"),
    ):
        assert burst(world, there, family) == SENT
        bucket = max(BURST * size, 1518)
        limit(world, "b", **{f"{side}Bandwidth": 8000, f"{side}Burst": bucket * 8})
        assert burst(world, back, family) == SENT
        least = bucket // size - OTHERS
        assert least <= burst(world, there, family, least) <= bucket // size + 10 * SLACK
        assert world.status["endpoints"]["default/h1-cni-b-eth0"] == "up"
        limit(world, "b")
        assert burst(world, there, family) == SENT
    assert not world.conditions("feature-missing")
    assert "tbf" not in tc(world, "calib")


@contextlib.contextmanager
def server(world: World, family: int) -> Iterator[tuple[Callable[[], bool], list[tuple[socket.socket, socket.socket]]]]:
    """A TCP server in b: a function that connects from a and says whether it could, and what is open."""
    listener = world.socket("b", family, socket.SOCK_STREAM)
    address = (world.address("b", family), 8080)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen(64)
    opened: list[tuple[socket.socket, socket.socket]] = []

    def connect() -> bool:
        client = world.socket("a", family, socket.SOCK_STREAM)
        try:
            client.connect(address)
        except ConnectionRefusedError:
            client.close()
            return False
        opened.append((client, listener.accept()[0]))
        return True

    try:
        yield connect, opened
    finally:
        for sock in (*[end for ends in opened for end in ends], listener):
            sock.close()


def test_one_connection_too_many_is_refused_until_one_ends_also_over_a_new_start(world: World, family: int) -> None:
    limit(world, "b", ingressMaxConnections=2)
    with server(world, family) as (connect, opened):
        assert [connect(), connect(), connect()] == [True, True, False]
        world.apply(resource("GlobalNetworkPolicy", "p", {"selector": "app == 'c'", "types": ["Ingress"]}))
        world.restart_felix()
        assert not connect()
        client, served = opened.pop(0)
        client.close()
        assert served.recv(1) == b""
        served.close()
        assert any(connect() for _ in range(1000))  # the kernel notices refused attempts some ticks later
        assert not connect()
        limit(world, "b")
        assert connect()


def test_a_new_start_keeps_what_is_in_the_buckets(world: World) -> None:
    limit(world, "b", ingressPacketRate=1, ingressPacketBurst=BURST, egressBandwidth=10_000_000)
    assert BURST - OTHERS <= burst(world, "a>b udp:7000:7001", 4, BURST - OTHERS) <= BURST + SLACK
    before = tc(world, "calib")
    world.restart_felix()
    assert burst(world, "a>b udp:7000:7001", 4) <= 2 * SLACK
    assert tc(world, "calib") == before
    assert not world.conditions("feature-missing")


def seen(world: World, flow: str, family: int) -> int:
    """The traffic class of a packet of a flow, where it arrives."""
    source, target = flow.split(" ")[0].split(">")
    netns, kind = world.netns(target), 0x0800 if family == 4 else 0x86DD

    def wire() -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(kind))
        sock.bind(("eth0", kind))
        sock.settimeout(5)
        return sock

    packet = world.packet(flow, family)
    with in_netns(netns, wire) as sock:
        assert world.passed((source, target, packet), expected=1) == [True]
        while True:
            data, sender = sock.recvfrom(2048)
            at = 12 if family == 4 else 8
            own = socket.inet_pton(socket.AF_INET if family == 4 else socket.AF_INET6, packet.source)
            if sender[2] != socket.PACKET_OUTGOING and data[at : at + len(own)] == own:
                return data[1] if family == 4 else int.from_bytes(data[:2], "big") >> 4 & 0xFF


def test_the_dscp_of_an_endpoint_is_on_what_it_sends_outside(world: World, family: int) -> None:
    assert seen(world, "b>x udp:9", family) == 0
    limit(world, "b", dscp="AF21")
    assert seen(world, "b>x udp:9", family) == 18 << 2
    assert seen(world, "x>b udp:9", family) == 0
    assert seen(world, "a>x udp:9", family) == 0
    limit(world, "b", annotations={"qos.projectcalico.org/dscp": "63"})
    assert seen(world, "b>x udp:9", family) == 63 << 2
    limit(world, "b")
    assert seen(world, "b>x udp:9", family) == 0


def test_where_the_kernel_cannot_redirect_bandwidth_from_workloads_is_policed_and_that_is_told(
    new_world: Callable[..., World],
) -> None:
    """Here it is kept from trying: the name of the device that it would try with is taken."""
    world = new_world("a", "b")
    world.ip("h", f"link add {PROBE} type veth peer name other")
    world.start_etcd()
    world.cluster()
    world.start_felix()
    world.settle()
    assert "bandwidth" not in world.conditions("feature-missing")
    bucket = 65536
    limit(world, "b", egressBandwidth=8000, egressBurst=bucket * 8)
    assert world.conditions("feature-missing") == {"bandwidth": "bandwidth from workloads is policed, not shaped"}
    assert "ingress" not in tc(world, "calib")
    packet = world.packet("b>a udp:7001:7000", 4)._replace(extra=bytes(1000 - 36))
    arrived = sum(world.passed(*[("b", "a", packet)] * SENT))
    assert bucket // 1000 <= arrived <= bucket // 1000 + SLACK
    limit(world, "b")
    assert sum(world.passed(*[("b", "a", packet)] * SENT)) == SENT
    assert not world.conditions("feature-missing")


@pytest.mark.parametrize("side", ["ingress", "egress"])
def test_an_interface_that_comes_back_is_limited_again(new_world: Callable[..., World], side: str) -> None:
    world = new_world("a", "b")
    world.start_etcd()
    world.cluster()
    world.start_felix()
    world.settle()
    limit(world, "b", **{f"{side}Bandwidth": 10_000_000, f"{side}PacketRate": 1, f"{side}PacketBurst": BURST})
    world.ip("h", "link del calib")
    world.wire("b")
    world.reopen("b")
    world.settle()
    world.expect(4, "a>b udp:9")
    flow = "a>b udp:7000:7001" if side == "ingress" else "b>a udp:7001:7000"
    assert burst(world, flow, 4) <= BURST + SLACK
    assert ("tbf ca1c:" if side == "ingress" else "ingress ffff:") in tc(world, "calib")


def test_packets_to_addresses_of_a_pool_keep_their_dscp(world: World, family: int) -> None:
    limit(world, "b", dscp="EF")
    assert seen(world, "b>a udp:9", family) == 46 << 2
    cidr = "10.65.0.0/16" if family == 4 else "fd00:65::/64"
    world.apply(resource("IPPool", "pool", {"cidr": cidr}))
    assert seen(world, "b>a udp:9", family) == 0
    assert seen(world, "b>x udp:9", family) == 46 << 2
    world.delete("IPPool", "pool")
    assert seen(world, "b>a udp:9", family) == 46 << 2
