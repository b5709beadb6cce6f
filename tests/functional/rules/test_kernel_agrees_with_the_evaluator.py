"""The kernel does to real packets what the evaluator says: random policies, random packets, sent and captured raw."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, Literal

import pytest

from calico.calc.messages import ActiveRule, IPSetUpdate, Message, PolicyUpdate, ProfileUpdate, RuleSide, TierPolicies
from calico.dataplane.links import Links
from calico.dataplane.netns import in_netns
from calico.dataplane.nft.drops import read_drops
from calico.lib.packed import addr_bytes, addr_port, addr_str, net, net_of_host
from calico.model.keys import ResourceKey
from calico.netlink.nftables.objects import Table
from calico.rules.config import RulesConfig
from calico.rules.drops import counter_name
from calico.rules.evaluator.evaluate import Packet, forward
from calico.rules.packets import ICMP, ICMPV6, TCP, UDP, Flow

pytestmark = pytest.mark.root

SOURCES = [addr_bytes(f"10.66.{i}.{j}") for i in (0, 1) for j in (1, 130)]
SOURCES += [addr_bytes(f"fd00:66:{i}::{j}") for i in (0, 1) for j in ("1", "8001")]
TARGETS = [addr_bytes(f"10.67.0.{j}") for j in (1, 130)] + [addr_bytes(f"fd00:67::{j}") for j in ("1", "8001")]
STRANGERS = [addr_bytes("10.66.0.9"), addr_bytes("fd00:66::9")]
ALL = SOURCES + TARGETS
NETS = [net_of_host(address) for address in ALL]
NETS += [net(n) for n in ("10.0.0.0/8", "10.66.0.0/24", "10.67.0.128/25", "0.0.0.0/0", "fd00:66::/48", "::/0")]
PORTS = [22, 53, 80, 81, 4789, 9000]
RANGES = [(80, 80), (22, 53), (0, 65535), (80, 81), (1, 2000), (53, 53)]
KEYS = [ResourceKey("NetworkPolicy", "ns", name) for name in "abc"]
STAGED = [ResourceKey("StagedNetworkPolicy", "ns", name) for name in "ab"]
FENCE = Flow(src=SOURCES[0], dst=TARGETS[0], protocol=UDP, sport=1, dport=1)
ROUNDS, PACKETS = 8, 250


class Draw:
    """Random policies and packets from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def some(self, values: list[Any], share: float) -> tuple[Any, ...]:
        return tuple(self.random.sample(values, self.random.randint(1, 3))) if self.random.random() < share else ()

    def side(self) -> RuleSide:
        return RuleSide(
            nets=self.some(NETS, 0.15),
            not_nets=self.some(NETS, 0.1),
            ip_sets=self.some(["n1", "n2", "n3"], 0.15)[:1],
            not_ip_sets=self.some(["n1", "n2", "n3"], 0.1)[:1],
            ports=self.some(RANGES, 0.15),
            not_ports=self.some(RANGES, 0.1),
            named_ports=self.some(["p1", "p1", "p1"], 0.1)[:1],
            not_named_ports=self.some(["p1", "p1", "p1"], 0.1)[:1],
        )

    def rule(self) -> ActiveRule:
        chance = self.random.random
        actions: list[Literal["allow", "deny", "pass"]] = ["allow", "allow", "deny", "pass"]
        return ActiveRule(
            action=self.random.choice(actions),
            ip_version=self.random.choice([None, None, None, 4, 6]),
            protocol=self.random.choice([None, None, TCP, UDP, ICMP, ICMPV6]),
            not_protocol=TCP if chance() < 0.1 else None,
            icmp=(self.random.choice([8, 128]), self.random.choice([None, 0, 1])) if chance() < 0.1 else None,
            not_icmp=(self.random.choice([8, 128]), self.random.choice([None, 0])) if chance() < 0.1 else None,
            src=self.side(),
            dst=self.side(),
        )

    def rules(self, most: int) -> tuple[ActiveRule, ...]:
        return tuple(self.rule() for _ in range(self.random.randint(0, most)))

    def tiers(self) -> tuple[TierPolicies, ...]:
        return tuple(
            TierPolicies(
                name=name,
                default_action=self.random.choice(["deny", "pass"]),
                ingress=self.some(KEYS + STAGED, 0.7),
                egress=self.some(KEYS + STAGED, 0.7),
            )
            for name in ("one", "two")
        )

    def messages(self, host: Any) -> list[Message]:
        """Sets, policies, profile and endpoints, which let the fence pass whatever else they say."""
        fence = ActiveRule(action="allow", protocol=UDP, dst=RuleSide(ports=((1, 1),)))
        members = frozenset(addr_port(address, number, 80) for address in ALL[::2] for number in (TCP, UDP))
        found: list[Message] = [IPSetUpdate(id="p1", kind="ports", members=members)]
        for name, nets in (("n1", NETS[: len(ALL)]), ("n2", NETS), ("n3", NETS)):
            found.append(IPSetUpdate(id=name, kind="nets", members=frozenset(self.random.sample(nets, 4))))
        for key in KEYS:
            ingress, egress = (fence, *self.rules(4)), (fence, *self.rules(4))
            found.append(PolicyUpdate(key=key, tier="t", ingress=ingress, egress=egress))
        for key in STAGED:
            ingress, egress = self.rules(4), self.rules(4)
            found.append(PolicyUpdate(key=key, tier="t", kind="staged", ingress=ingress, egress=egress))
        found.append(ProfileUpdate(name="x", ingress=(fence, *self.rules(3)), egress=(fence, *self.rules(3))))
        one, two = host.workloads
        found.append(host.endpoint(one, tiers=self.tiers(), profiles=("x",), nets=tuple(map(net_of_host, TARGETS))))
        found.append(host.endpoint(two, tiers=self.tiers(), profiles=("x",), nets=tuple(map(net_of_host, SOURCES))))
        return found

    def flow(self) -> Flow:
        source = self.random.choice(SOURCES * 5 + STRANGERS)
        target = self.random.choice([address for address in TARGETS if len(address) == len(source)])
        ping = ICMP if len(source) == 4 else ICMPV6
        return Flow(
            src=source,
            dst=target,
            protocol=self.random.choice([TCP, TCP, UDP, UDP, ping]),
            sport=self.random.choice(PORTS),
            dport=self.random.choice(PORTS),
            icmp=(8 if ping == ICMP else 128, 0),
        )


def numbered(flow: Flow, number: int) -> bytes:
    """A packet that carries its number where no rule looks, and a valid IPv4 header checksum."""
    data = bytearray(flow.data())
    if flow.version == 6:
        data[2:4] = number.to_bytes(2, "big")
        return bytes(data)
    data[4:6] = number.to_bytes(2, "big")
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, 20, 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    data[10:12] = (total ^ 0xFFFF).to_bytes(2, "big")
    return bytes(data)


def number_of(frame: bytes) -> int | None:
    """The number in a captured frame; None for one that is none of ours."""
    data = frame[14:]
    if data[:1] == b"\x45" and data[16:20] in TARGETS:
        return int.from_bytes(data[4:6], "big")
    if data[:1] == b"\x60" and data[24:40] in TARGETS:
        return int.from_bytes(data[2:4], "big")
    return None


def exchange(host: Any, flows: list[Flow]) -> set[int]:
    """Send numbered flows from the second workload; the numbers that reach the first. The fence is the last."""
    one, two = host.workloads
    ethernet = bytes.fromhex("eeeeeeeeeeee") + two.mac
    arrived: set[int] = set()
    with one.wire() as capture, two.wire() as wire:
        for number, flow in enumerate([*flows, FENCE]):
            kind = b"\x86\xdd" if flow.version == 6 else b"\x08\x00"
            wire.send(ethernet + kind + numbered(flow, number))
        while len(flows) not in arrived:
            number_found = number_of(capture.recv(2000))
            if number_found is not None:
                arrived.add(number_found)
    return arrived - {len(flows)}


@pytest.fixture
def quiet(host: Any, write_sysctls: Any) -> Any:
    """Workloads that own none of the addresses, so that nobody answers and every packet stays a connection's first."""
    write_sysctls(host.netns, {"netfilter/nf_conntrack_checksum": "0"})
    with Links(host.netns) as links:
        for addresses, workload in ((TARGETS, host.workloads[0]), (SOURCES, host.workloads[1])):
            for address in addresses:
                text = addr_str(address)
                links.add_route(f"{text}/{len(address) * 8}", dev=workload.interface)
                links.add_neighbour(workload.interface, text, workload.mac)
    return host


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_the_kernel_forwards_exactly_what_the_evaluator_accepts(quiet: Any, seed: int) -> None:
    draw = Draw(seed)
    quiet.apply(*draw.messages(quiet))
    flows = [draw.flow() for _ in range(PACKETS)]
    expected = {
        number
        for number, flow in enumerate(flows)
        if forward(quiet.state, Packet(data=flow.data(), iifname="cali2", oifname="cali1")).verdict == "accept"
    }
    arrived = exchange(quiet, flows)
    wrong = {flows[number] for number in expected ^ arrived}
    assert not wrong, wrong


@pytest.mark.parametrize("seed", range(3))
def test_the_kernel_counts_what_the_evaluator_sees_staged_policies_do(quiet: Any, seed: int) -> None:
    draw = Draw(1000 + seed)
    quiet.apply(*draw.messages(quiet))
    flows = [draw.flow() for _ in range(PACKETS)]
    expected: dict[tuple[str, str], int] = {}
    for flow in [*flows, FENCE]:
        outcome = forward(quiet.state, Packet(data=flow.data(), iifname="cali2", oifname="cali1"))
        for step in outcome.trace:
            expected[step] = expected.get(step, 0) + 1
    exchange(quiet, flows)
    chains = list(quiet.ruleset.staged_chains())
    for staged in chains:
        comments = [rule.comment for rule in quiet.state.chains[staged.chain].rules]
        counts = quiet.dataplane.counts(staged.chain)
        assert len(comments) == len(staged.counts) == len(counts)
        for comment in set(comments):
            of_rule = sum(count for said, count in zip(comments, counts, strict=True) if said == comment)
            assert of_rule == expected.get((staged.chain, comment), 0), comment
    assert chains


def test_the_kernel_counts_drops_by_reason_as_the_evaluator_says_whatever_changes_meanwhile(quiet: Any) -> None:
    """Policy changes and other processes take the table over; a packet is counted once, and none is forgotten."""
    expected: Counter[str] = Counter()
    for seed in range(3):
        draw = Draw(2000 + seed)
        quiet.apply(*draw.messages(quiet))
        flows = [draw.flow() for _ in range(100)]
        for flow in flows:
            outcome = forward(quiet.state, Packet(data=flow.data(), iifname="cali2", oifname="cali1"))
            assert len(outcome.counted) == (outcome.verdict == "drop")
            expected.update(outcome.counted)
        exchange(quiet, flows)
        if seed == 1:
            quiet.use(RulesConfig(drop_invalid=False))
    found = in_netns(quiet.netns, lambda: read_drops(Table("calico")))
    assert {counter_name(reason): counted.packets for reason, counted in found.items() if counted.packets} == expected
    assert {"drop-spoofed-source", "drop-tier-default", "drop-no-profile-allows"} <= set(expected)
