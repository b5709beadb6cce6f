"""Which chains limits of endpoints are made of, and when they are there."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from calico.calc.messages import IPAM_POOLS, EndpointId, EndpointRemove, EndpointUpdate, IPSetRemove, IPSetUpdate, QoS
from calico.lib.packed import addr_bytes, net
from calico.model.keys import ResourceKey
from calico.netlink.nftables.expr import ConnLimit, Limit, Verdict
from calico.rules.config import RulesConfig
from calico.rules.evaluator.evaluate import Packet, evaluate, from_host
from calico.rules.packets import Flow
from calico.rules.ruleset import Ruleset
from calico.rules.table import TableState

BASES = {"limits-forward", "limits-connections", "marking"}
MAPS = {"rates-from", "rates-to", "connections-from", "connections-to", "marks"}
EVERYTHING = QoS(
    egress_bandwidth=8_000_000,
    egress_burst=80_000_000,
    ingress_packet_rate=10,
    ingress_packet_burst=5,
    egress_packet_rate=20,
    egress_packet_burst=6,
    ingress_max_connections=7,
    egress_max_connections=8,
    dscp=46,
)


class Table:
    def __init__(self) -> None:
        self.state = TableState()
        self.ruleset = Ruleset(self.state, RulesConfig())
        self.bare = dict(self.state.chains), dict(self.state.sets)
        self.state.take()

    def put(self, number: int, qos: QoS | None, interface: str = "") -> None:
        self.ruleset.on_message(
            EndpointUpdate(
                id=EndpointId("k8s", f"ns/w{number}", "eth0"),
                key=ResourceKey("WorkloadEndpoint", "ns", f"w{number}"),
                interface=interface or f"cali{number}",
                nets=(net(f"10.0.0.{number}"),),
                qos=qos,
            )
        )

    def remove(self, number: int) -> None:
        self.ruleset.on_message(EndpointRemove(id=EndpointId("k8s", f"ns/w{number}", "eth0")))

    def limits(self, chain: str) -> list[Any]:
        return [rule.exprs[0] for rule in self.state.chains[chain].rules]

    def changed(self) -> set[str]:
        return self.state.take().chains


@pytest.fixture
def table() -> Table:
    return Table()


def test_without_limits_there_is_nothing_of_them(table: Table) -> None:
    table.put(1, None)
    assert not BASES & table.state.chains.keys()
    assert not MAPS & table.state.sets.keys()


def test_everything_goes_with_the_last_endpoint_that_has_limits(table: Table) -> None:
    table.put(1, EVERYTHING)
    table.put(2, QoS(dscp=46))
    assert table.state.chains.keys() >= BASES
    assert table.state.sets.keys() >= MAPS
    table.put(1, None)
    assert BASES & table.state.chains.keys() == {"marking"}
    assert MAPS & table.state.sets.keys() == {"marks"}
    table.remove(2)
    table.remove(1)
    assert (dict(table.state.chains).keys(), dict(table.state.sets)) == (table.bare[0].keys(), table.bare[1])


def test_each_limit_is_one_expression_in_the_chain_of_its_interface(table: Table) -> None:
    table.put(1, EVERYTHING)
    rate, burst = 1_000_000, 10_000_000
    assert table.limits("rates-from-cali1") == [
        Limit(20, 1, 6, over=True),
        Limit(rate, 1, burst - rate, "bytes", over=True),
    ]
    assert table.limits("rates-to-cali1") == [Limit(10, 1, 5, over=True)]
    assert table.limits("connections-to-cali1") == [ConnLimit(7, over=True)]
    assert table.limits("connections-from-cali1") == [ConnLimit(8, over=True)]


def test_bandwidth_is_policed_only_while_nothing_shapes_it(table: Table) -> None:
    table.put(1, QoS(egress_bandwidth=8_000_000, egress_burst=80_000_000))
    assert len(table.limits("rates-from-cali1")) == 1
    table.ruleset.police_bandwidth(False)
    assert "rates-from-cali1" not in table.state.chains
    assert "limits-forward" not in table.state.chains
    table.put(2, EVERYTHING)
    assert table.limits("rates-from-cali2") == [Limit(20, 1, 6, over=True)]
    table.ruleset.police_bandwidth(True)
    assert len(table.limits("rates-from-cali1")) == 1


def test_a_policer_also_holds_the_peak_rate_and_lets_the_largest_packet_pass(table: Table) -> None:
    slow = QoS(egress_bandwidth=8000, egress_burst=1000, egress_peakrate=80_000, egress_minburst=2000)
    table.put(1, slow)
    assert table.limits("rates-from-cali1") == [
        Limit(1000, 1, 65536 - 1000, "bytes", over=True),
        Limit(10_000, 1, 65536 - 10_000, "bytes", over=True),
    ]


@pytest.mark.parametrize("bandwidth", [10**11, 147 * 10**9, 148 * 10**9, 10**15])
def test_a_policer_asks_of_the_kernel_only_what_it_can_count(table: Table, bandwidth: int) -> None:
    table.put(1, QoS(egress_bandwidth=bandwidth, egress_burst=34359738360))
    limits = table.limits("rates-from-cali1") if "rates-from-cali1" in table.state.chains else []
    assert len(limits) == (bandwidth // 8 * 10**9 < 2**64)
    assert all((limit.rate + limit.burst) * 10**9 < 2**64 and limit.burst < 2**32 for limit in limits)


def test_how_bandwidth_is_limited_is_nothing_to_endpoints_without_limits(table: Table) -> None:
    table.put(1, None)
    table.put(2, EVERYTHING)
    table.put(2, None)
    for on in (False, True):
        table.ruleset.police_bandwidth(on)
        assert not BASES & table.state.chains.keys()


def test_a_changed_limit_rewrites_only_its_own_chain(table: Table) -> None:
    table.put(1, EVERYTHING)
    table.put(2, EVERYTHING)
    table.state.take()
    table.put(1, QoS(ingress_packet_rate=11, ingress_packet_burst=5, egress_max_connections=8, dscp=46))
    assert {name for name in table.changed() if name in table.state.chains} == {"rates-to-cali1"}


def test_a_dscp_stays_while_an_endpoint_has_it_and_comes_back_with_one(table: Table) -> None:
    def has_chain() -> bool:
        return "dscp-46" in table.state.chains

    table.put(1, QoS(dscp=46))
    table.put(1, QoS(dscp=46, egress_packet_rate=1, egress_packet_burst=1))
    assert has_chain(), "another limit changed"
    table.put(2, QoS(dscp=46))
    table.put(2, None)
    assert has_chain(), "another endpoint has it"
    table.put(1, None)
    assert not has_chain()
    table.put(1, QoS(dscp=46))
    assert has_chain()


def test_refusal_of_connections_is_there_while_connections_are_limited(table: Table) -> None:
    rate, connections = QoS(egress_packet_rate=1, egress_packet_burst=1), QoS(egress_max_connections=1)
    for number, qos, refuses in (
        (1, rate, False), (2, connections, True), (1, None, True), (2, None, False), (2, connections, True),
        (2, None, False),
    ):  # fmt: skip
        table.put(number, qos)
        assert ("too-many-connections" in table.state.chains) == refuses


@pytest.mark.parametrize("bits", [7, 8, 8 * 65536, 8 * 65537, 8 * 18446744073, 8 * 18446744074])
def test_a_rate_is_in_whole_bytes_from_one_to_what_the_kernel_can_count(table: Table, bits: int) -> None:
    table.put(1, QoS(egress_bandwidth=bits, egress_burst=1000))
    rate = bits // 8
    found = table.limits("rates-from-cali1") if "rates-from-cali1" in table.state.chains else []
    wanted = [Limit(rate, 1, max(65536 - rate, 0), "bytes", over=True)]
    assert found == (wanted if 0 < rate <= 18446744073 else [])


def test_what_does_not_concern_limits_rewrites_none(table: Table) -> None:
    table.put(1, EVERYTHING)
    table.state.take()
    table.put(2, None)
    table.ruleset.on_message(IPSetUpdate(id="other", kind="nets", members=frozenset((net("10.0.0.0/8"),))))
    assert not [name for name in table.changed() if "cali1" in name or name in BASES]


def test_endpoints_with_one_dscp_share_its_chain(table: Table) -> None:
    table.put(1, QoS(dscp=46))
    table.put(2, QoS(dscp=46))
    table.put(3, QoS(dscp=8))
    assert {name for name in table.state.chains if name.startswith("dscp-")} == {"dscp-46", "dscp-8"}
    table.put(1, QoS(dscp=8))
    table.put(2, None)
    assert {name for name in table.state.chains if name.startswith("dscp-")} == {"dscp-8"}
    assert set(table.state.elements("marks").values()) == {Verdict("goto", "dscp-8")}


def test_a_mark_follows_the_kernel_sets_that_the_pools_are_made_of(table: Table) -> None:
    table.put(1, QoS(dscp=46))
    assert len(table.state.chains["dscp-46"].rules) == 2
    pools = frozenset((net("10.0.0.0/16"), net("fd00::/64")))
    table.ruleset.on_message(IPSetUpdate(id=IPAM_POOLS, kind="nets", members=pools))
    sets = {getattr(expr, "set", "") for rule in table.state.chains["dscp-46"].rules for expr in rule.exprs} - {""}
    assert sets == {name for name in table.state.sets if IPAM_POOLS in name}
    assert len(sets) == 4
    table.ruleset.on_message(IPSetRemove(id=IPAM_POOLS))
    assert len(table.state.chains["dscp-46"].rules) == 2


def test_limits_belong_to_the_endpoint_that_owns_the_interface(table: Table) -> None:
    table.put(2, QoS(ingress_packet_rate=10, ingress_packet_burst=5), interface="cali1")
    table.put(1, QoS(ingress_packet_rate=20, ingress_packet_burst=5), interface="cali1")
    assert table.limits("rates-to-cali1") == [Limit(20, 1, 5, over=True)]
    table.remove(1)
    assert table.limits("rates-to-cali1") == [Limit(10, 1, 5, over=True)]
    table.put(2, EVERYTHING, interface="eth0")
    assert not BASES & table.state.chains.keys()


def test_a_hundred_limited_endpoints_have_room_in_the_maps(table: Table) -> None:
    for number in range(1, 101):
        table.put(number, EVERYTHING)
    for name in MAPS:
        assert len(table.state.elements(name)) == 100
        assert table.state.sets[name].size > 130
    table.state.take()
    table.put(101, EVERYTHING)
    assert not table.state.take().sets


def test_the_hosts_own_packets_keep_their_dscp(table: Table) -> None:
    table.put(1, QoS(dscp=46))
    flow = Flow(src=addr_bytes("10.0.0.1"), dst=addr_bytes("192.0.2.1"))
    packet = Packet(data=flow.data(), iifname="cali1", oifname="eth0")
    assert from_host(table.state, packet).data == flow.data()
    marked = evaluate(table.state, packet, "postrouting").data
    assert marked[1] == 46 << 2


@pytest.mark.parametrize("dscp", [0, 1, 46, 63])
def test_a_mark_is_six_bits_of_what_leaves_the_pools_and_no_others(table: Table, dscp: int) -> None:
    table.put(1, QoS(dscp=dscp))
    pools = frozenset(map(net, ("10.0.0.0/16", "10.9.0.1/32", "fd00::/64", "fd01::1/128")))
    table.ruleset.on_message(IPSetUpdate(id=IPAM_POOLS, kind="nets", members=pools))

    def leaving(data: bytes) -> bytes:
        return evaluate(table.state, Packet(data=data, iifname="cali1", oifname="eth0"), "postrouting").data

    for first in (b"\x45\x00\x00", b"\x45\xfd\x01", b"\x45\x03\xff"):
        flow = Flow(src=addr_bytes("10.0.0.1"), dst=addr_bytes("192.0.2.1"))
        sent = first + flow.data()[3:]
        wanted = sent[:1] + bytes((dscp << 2 | sent[1] & 3,)) + sent[2:]
        got = leaving(sent)
        assert got[:10] + got[12:] == wanted[:10] + wanted[12:]
        assert checksum(got[:20]) == checksum(sent[:20])
        for inside in ("10.0.0.9", "10.9.0.1"):
            sent = first + msgspec.structs.replace(flow, dst=addr_bytes(inside)).data()[3:]
            assert leaving(sent) == sent
    for first in (b"\x60\x00\x00", b"\x6f\xdf\xff", b"\x60\x35\x01"):
        flow = Flow(src=addr_bytes("fd00::1"), dst=addr_bytes("2001:db8::1"))
        sent = first + flow.data()[3:]
        assert leaving(sent) == bytes((0x60 | dscp >> 2, dscp << 6 & 0xC0 | sent[1] & 0x3F)) + sent[2:]
        for inside in ("fd00::9", "fd01::1"):
            sent = first + msgspec.structs.replace(flow, dst=addr_bytes(inside)).data()[3:]
            assert leaving(sent) == sent


def checksum(header: bytes) -> int:
    """RFC 1071; 0 over a header whose checksum is right."""
    total = sum(int.from_bytes(header[at : at + 2], "big") for at in range(0, len(header), 2))
    return ~(total % 0xFFFF or 0xFFFF) & 0xFFFF
