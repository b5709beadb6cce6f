"""Limits of endpoints against packets: what a bucket holds passes, what is above does not, and state is kept."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from calico.calc.messages import (
    IPAM_POOLS,
    ActiveRule,
    IPSetUpdate,
    PolicyUpdate,
    ProfileUpdate,
    QoS,
    RuleSide,
    TierPolicies,
)
from calico.dataplane.netns import in_netns
from calico.dataplane.nft.table import NftDataplane
from calico.lib.packed import net
from calico.model.keys import ResourceKey
from calico.netlink.nftables.objects import Table

pytestmark = pytest.mark.root

OPEN = ProfileUpdate(name="open", ingress=(ActiveRule(action="allow"),), egress=(ActiveRule(action="allow"),))
SENT, BURST, SLACK = 200, 20, 5
"""Packets sent at once, what a bucket holds, and what one second's rate may add while they are sent."""


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def family(request: pytest.FixtureRequest) -> int:
    return int(request.param)


class Pair:
    """The host with two open workloads; one sends, two receives."""

    def __init__(self, host: Any) -> None:
        self.host = host
        self.one, self.two = host.workloads
        self.limit()

    def limit(self, one: QoS | None = None, two: QoS | None = None) -> None:
        self.host.apply(
            OPEN,
            self.host.endpoint(self.one, profiles=("open",), qos=one),
            self.host.endpoint(self.two, profiles=("open",), qos=two),
        )

    @staticmethod
    def address(workload: Any, family: int) -> str:
        return workload.v4 if family == 4 else workload.v6

    @contextlib.contextmanager
    def udp(self, family: int, port: int = 7000) -> Iterator[tuple[socket.socket, socket.socket]]:
        """A connected pair of sockets in the two workloads."""
        addresses = [(self.address(workload, family), port) for workload in (self.one, self.two)]
        with self.one.udp(*addresses[0]) as left, self.two.udp(*addresses[1]) as right:
            left.connect(addresses[1])
            right.connect(addresses[0])
            yield left, right


@pytest.fixture
def pair(host: Any) -> Pair:
    """Once packets of both families pass: the kernel takes a moment to begin with IPv6 on a new interface."""
    made = Pair(host)
    for family in (4, 6):
        with made.udp(family, 6999) as (left, right):
            for source, target in ((left, right), (right, left)):
                assert any(passes(source, target) for _ in range(100))
    return made


def passes(source: socket.socket, target: socket.socket) -> bool:
    """Whether a packet arrives soon."""
    target.settimeout(0.1)
    source.send(b"?")
    try:
        return target.recv(1) == b"?"
    except TimeoutError:
        return False


def count(source: socket.socket, target: socket.socket, number: int = SENT, size: int = 8) -> int:
    """How many of so many packets, sent at once, arrive."""
    target.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
    for _ in range(number):
        source.send(bytes(size))
    arrived = 0
    target.settimeout(0.3)
    with contextlib.suppress(TimeoutError):
        while True:
            target.recv(65536)
            arrived += 1
    return arrived


def test_packets_above_the_burst_are_dropped_in_each_direction_by_itself(pair: Pair, family: int) -> None:
    with pair.udp(family) as (left, right):
        assert count(left, right) == SENT
        pair.limit(one=QoS(egress_packet_rate=1, egress_packet_burst=BURST))
        assert BURST <= count(left, right) <= BURST + SLACK
        assert count(right, left) == SENT
        pair.limit(two=QoS(ingress_packet_rate=1, ingress_packet_burst=BURST))
        assert BURST <= count(left, right) <= BURST + SLACK
        assert count(right, left) == SENT
        pair.limit()
        assert count(left, right) == SENT


def test_packets_of_known_connections_count_too(pair: Pair) -> None:
    with pair.udp(4) as (left, right):
        assert count(left, right, 1) == count(right, left, 1) == 1
        tracked = in_netns(pair.host.netns, lambda: Path("/proc/thread-self/net/nf_conntrack").read_text())
        assert "dport=7000" in tracked
        assert "[UNREPLIED]" not in tracked
        pair.limit(two=QoS(egress_packet_rate=1, egress_packet_burst=BURST))
        assert BURST <= count(right, left) <= BURST + SLACK


def test_policed_bandwidth_lets_a_burst_of_bytes_pass(pair: Pair, family: int) -> None:
    """100 packets of 1000 bytes with headers are in the bucket; the rate adds one each second."""
    size = 1000 - (28 if family == 4 else 48)
    pair.limit(one=QoS(egress_bandwidth=8000, egress_burst=800_000))
    with pair.udp(family) as (left, right):
        assert 99 <= count(left, right, SENT, size) <= 100 + SLACK
        assert count(right, left, SENT, size) == SENT
        pair.host.ruleset.police_bandwidth(False)
        pair.host.apply()
        assert count(left, right, SENT, size) == SENT


def test_nothing_but_a_change_of_the_limit_itself_fills_a_bucket_again(pair: Pair) -> None:
    limited = QoS(egress_packet_rate=1, egress_packet_burst=BURST)
    pair.limit(one=limited)
    with pair.udp(4) as (left, right):
        assert count(left, right) >= BURST
        key = ResourceKey("GlobalNetworkPolicy", "", "p")
        allow = (ActiveRule(action="allow"),)
        tiers = (TierPolicies(name="t", default_action="deny", ingress=(key,), egress=(key,)),)
        pair.host.apply(
            PolicyUpdate(key=key, tier="t", ingress=allow, egress=allow),
            pair.host.endpoint(pair.one, tiers=tiers, profiles=("open",), qos=limited),
            pair.host.endpoint(pair.two, profiles=("open",), qos=QoS(ingress_packet_rate=9000, dscp=8)),
        )
        assert count(left, right) <= SLACK
        restart(pair)
        assert count(left, right) <= SLACK
        pair.limit(one=QoS(egress_packet_rate=2, egress_packet_burst=BURST))
        assert count(left, right) >= BURST


def restart(pair: Pair) -> None:
    """Another process takes the table over and writes no rule again: the kernel would number it anew."""

    def rules() -> list[str]:
        return pair.host.nft("-a", "list", "table", "inet", "calico").splitlines()[2:]  # not the owner

    pair.host.dataplane.close()
    state = pair.host.state
    pair.host.dataplane = in_netns(pair.host.netns, lambda: NftDataplane(Table("calico"), state))
    before = rules()
    assert pair.host.dataplane.apply().failed == ()
    assert rules() == before


class Server:
    """A TCP server in the second workload."""

    def __init__(self, pair: Pair, family: int) -> None:
        self.af = socket.AF_INET if family == 4 else socket.AF_INET6
        self.pair = pair
        self.address = (pair.address(pair.two, family), 8080)
        self.listener = in_netns(pair.two.netns, lambda: socket.socket(self.af))
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(self.address)
        self.listener.listen(64)
        self.open: list[tuple[socket.socket, socket.socket]] = []

    def connect(self) -> bool:
        """Whether one more connection is made; a refusal must be told to the client at once."""
        sock = in_netns(self.pair.one.netns, lambda: socket.socket(self.af))
        sock.settimeout(10)
        try:
            sock.connect(self.address)
        except ConnectionRefusedError:
            sock.close()
            return False
        self.open.append((sock, self.listener.accept()[0]))
        return True

    def leave(self) -> None:
        """The oldest connection ends, and both ends know it."""
        client, server = self.open.pop(0)
        client.close()
        assert server.recv(1) == b""
        server.close()

    def close(self) -> None:
        for ends in self.open:
            for sock in ends:
                sock.close()
        self.listener.close()


@pytest.fixture
def server(pair: Pair, family: int) -> Iterator[Server]:
    made = Server(pair, family)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("side", ["ingress", "egress"])
def test_one_connection_too_many_is_refused_until_another_ends(pair: Pair, server: Server, side: str) -> None:
    limited: dict[str, Any] = {f"{side}_max_connections": 3}
    pair.limit(**{"two" if side == "ingress" else "one": QoS(**limited)})
    assert [server.connect() for _ in range(5)] == [True, True, True, False, False]
    eventually(lambda: (server.leave(), server.connect())[1] if len(server.open) == 3 else server.connect())
    assert not server.connect()
    pair.limit()
    assert server.connect()


def eventually(attempt: Callable[[], bool]) -> None:
    """The kernel counts a refused attempt for a few ticks more: whoever asks without a pause keeps itself out."""
    for _ in range(400):
        if attempt():
            return
        time.sleep(0.05)
    raise AssertionError("still refused")


def test_connections_of_other_protocols_count_and_are_dropped_silently(pair: Pair, family: int) -> None:
    pair.limit(two=QoS(ingress_max_connections=2))
    address = pair.address(pair.one, family)
    with pair.udp(family) as (left, right), contextlib.ExitStack() as stack:
        right.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        others = [stack.enter_context(pair.one.udp(address, port)) for port in (7001, 7002)]
        for sock in others:
            sock.connect((pair.address(pair.two, family), 7000))
        assert count(left, right, 3) == 3
        reopened = stack.enter_context(pair.two.udp(pair.address(pair.two, family), 7009))
        others[0].connect((pair.address(pair.two, family), 7009))
        others[1].connect((pair.address(pair.two, family), 7009))
        assert count(others[0], reopened, 3) == 3
        assert count(others[1], reopened, 3) == 0
        assert count(left, right, 3) == 3


def test_what_policy_denies_does_not_use_up_the_connections(pair: Pair, server: Server) -> None:
    key = ResourceKey("GlobalNetworkPolicy", "", "p")
    rules = (ActiveRule(action="allow", protocol=6, dst=RuleSide(ports=((8080, 8080),))),)
    tiers = (TierPolicies(name="t", default_action="deny", ingress=(key,)),)
    pair.host.apply(
        PolicyUpdate(key=key, tier="t", ingress=rules, egress=()),
        pair.host.endpoint(pair.two, tiers=tiers, profiles=("open",), qos=QoS(ingress_max_connections=1)),
    )
    for _ in range(100):
        with in_netns(pair.one.netns, lambda: socket.socket(server.af)) as denied:
            denied.setblocking(False)
            denied.connect_ex((server.address[0], 8081))
    assert server.connect()
    assert not server.connect()


def test_a_count_of_connections_is_not_forgotten_when_other_limits_change_or_felix_starts_again(
    pair: Pair, server: Server
) -> None:
    pair.limit(two=QoS(ingress_max_connections=2))
    assert [server.connect() for _ in range(2)] == [True, True]
    pair.limit(
        one=QoS(egress_max_connections=50),
        two=QoS(ingress_max_connections=2, ingress_packet_rate=9000, ingress_packet_burst=9000, dscp=1),
    )
    assert not server.connect()
    restart(pair)
    assert not server.connect()


def captured(pair: Pair, family: int, *, tos: int = 0) -> bytes:
    """The network header of one UDP packet as the second workload gets it."""
    with pair.udp(family) as (left, _), pair.two.wire() as wire:
        option = (socket.IPPROTO_IP, socket.IP_TOS) if family == 4 else (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
        left.setsockopt(*option, tos)
        left.send(b"marked")
        while True:
            frame = wire.recv(2000)
            if frame.endswith(b"marked"):
                return frame[14:]


def traffic_class(data: bytes, family: int) -> int:
    return data[1] if family == 4 else int.from_bytes(data[:2], "big") >> 4 & 0xFF


def checksum_fits(data: bytes) -> bool:
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, 20, 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total == 0xFFFF


def test_the_dscp_of_the_sender_is_on_packets_that_leave_the_pools(pair: Pair, family: int) -> None:
    assert traffic_class(captured(pair, family, tos=0x21), family) == 0x21
    pair.limit(one=QoS(dscp=46))
    for tos in (0, 0x21):
        data = captured(pair, family, tos=tos)
        assert traffic_class(data, family) == 46 << 2 | tos & 3
        assert family == 6 or checksum_fits(data)
    pair.limit(one=QoS(dscp=0))
    assert traffic_class(captured(pair, family, tos=0x21), family) == 1
    pair.limit(two=QoS(dscp=46))
    assert traffic_class(captured(pair, family, tos=0x21), family) == 0x21


def test_packets_within_the_pools_keep_theirs(pair: Pair, family: int) -> None:
    pair.limit(one=QoS(dscp=46))
    pools = frozenset((net("10.65.0.0/16"), net("fd00:65::/32")))
    pair.host.apply(IPSetUpdate(id=IPAM_POOLS, kind="nets", members=pools))
    assert traffic_class(captured(pair, family, tos=0x20), family) == 0x20
    pair.host.apply(IPSetUpdate(id=IPAM_POOLS, kind="nets", members=frozenset((net("10.66.0.0/16"),))))
    assert traffic_class(captured(pair, family, tos=0x20), family) == 46 << 2


def test_nft_lists_the_limits_in_its_own_words(pair: Pair) -> None:
    pair.limit(
        one=QoS(egress_bandwidth=80_000_000, egress_burst=800_000_000, egress_max_connections=4, dscp=46),
        two=QoS(ingress_packet_rate=10, ingress_packet_burst=7),
    )
    text = pair.host.nft("list", "table", "inet", "calico")
    for line in (
        'limit rate over 10000000 bytes/second burst 90000000 bytes counter name "drop-bandwidth" drop',
        'limit rate over 10/second burst 7 packets counter name "drop-packet-rate" drop',
        "ct count over 4 goto too-many-connections",
        "ip dscp set ef",
        "ip6 dscp set ef",
        "reject with tcp reset",
    ):
        assert line in text, line
