"""The kernel translates real packets as the evaluator says: random pools, floating addresses and settings, sent raw."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, Literal

import pytest

from calico.calc.messages import (
    ALL_HOSTS,
    IPAM_POOLS,
    MASQ_POOLS,
    ActiveRule,
    IPSetUpdate,
    Message,
    PolicyUpdate,
    ProfileUpdate,
    RuleSide,
    TierPolicies,
)
from calico.dataplane.links import Links
from calico.lib.packed import addr_bytes, addr_str, net, net_of_host
from calico.model.keys import ResourceKey
from calico.rules.config import RulesConfig
from calico.rules.evaluator.evaluate import Packet, forward
from calico.rules.packets import ICMP, ICMPV6, TCP, UDP, Flow

pytestmark = pytest.mark.root

SOURCES = [addr_bytes(f"10.66.0.{n}") for n in (1, 2)] + [addr_bytes(f"fd00:66::{n}") for n in (1, 2)]
TARGETS = [addr_bytes(f"10.67.0.{n}") for n in (1, 2)] + [addr_bytes(f"fd00:67::{n}") for n in (1, 2)]
EXTERNAL = [addr_bytes(f"198.18.0.{n}") for n in (1, 2, 3)] + [addr_bytes(f"2001:db8:f::{n}") for n in (1, 2, 3)]
OUTSIDE = [addr_bytes("198.51.100.1"), addr_bytes("2001:db8:1::1")]
OUT = {4: addr_bytes("10.65.255.1"), 6: addr_bytes("fd00:65::ffff")}
NETS = [net(text) for text in ("10.66.0.0/24", "10.66.0.2/32", "10.67.0.0/31", "10.0.0.0/8")]
NETS += [net("fd00:66::/64"), net("fd00::/16")]
ELSEWHERE = [net(text) for text in ("198.18.0.0/31", "2001:db8:f::/64", "198.51.100.0/24")]
POLICY = ResourceKey("GlobalNetworkPolicy", "", "p")
FENCE = Flow(src=SOURCES[0], dst=addr_bytes("203.0.113.1"), protocol=UDP, sport=1, dport=1)
Ends = tuple[bytes, bytes, int | None]


class Draw:
    """Random worlds and packets from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def config(self) -> RulesConfig:
        choice = self.random.choice
        return RulesConfig(
            nat_ports=choice([None, (20000, 29999)]),
            nat_address_v4=choice([b"", addr_bytes("10.65.255.9")]),
            nat_excludes_hosts=choice([False, True]),
            nat_interface=choice(["", "", "cali1", "cali+", "eth0"]),
        )

    def rules(self) -> tuple[ActiveRule, ...]:
        actions: list[Literal["allow", "deny"]] = ["allow", "deny"]
        everyone = SOURCES + TARGETS + EXTERNAL + OUTSIDE
        return tuple(
            ActiveRule(
                action=self.random.choice(actions),
                protocol=self.random.choice([None, TCP, UDP]),
                src=RuleSide(nets=self.nets(everyone)),
                dst=RuleSide(nets=self.nets(everyone)),
            )
            for _ in range(2)
        )

    def nets(self, addresses: list[bytes]) -> tuple[bytes, ...]:
        if self.random.random() < 0.5:
            return ()
        version = self.random.choice([4, 16])
        mine = [net_of_host(address) for address in addresses if len(address) == version]
        return tuple(self.random.sample(mine, 4))

    def nats(self, own: Iterable[bytes], external: list[bytes]) -> tuple[tuple[bytes, bytes], ...]:
        """Some of the external addresses, each for an own one of its family; what is taken is not given again."""
        found = []
        for address in own:
            mine = [each for each in external if len(each) == len(address)]
            if mine and self.random.random() < 0.7:
                external.remove(taken := self.random.choice(mine))
                found.append((address, taken))
        return tuple(found)

    def messages(self, host: Any) -> list[Message]:
        """The fence passes and is not translated, whatever else they say."""
        fence = ActiveRule(action="allow", protocol=UDP, dst=RuleSide(ports=((1, 1),)))
        pools = frozenset((*self.random.sample(NETS, 3), *self.random.sample(ELSEWHERE, 1)))
        masqueraded = frozenset(self.random.sample(NETS, 3))
        hosts = frozenset(map(net_of_host, OUTSIDE))
        sets = {IPAM_POOLS: pools | {net("203.0.113.0/24")}, MASQ_POOLS: masqueraded, ALL_HOSTS: hosts}
        found: list[Message] = [IPSetUpdate(id=name, kind="nets", members=members) for name, members in sets.items()]
        rules = (fence, *self.rules())
        found.append(PolicyUpdate(key=POLICY, tier="t", ingress=rules, egress=(fence, *self.rules())))
        everything = (ActiveRule(action="allow"),)
        found.append(ProfileUpdate(name="x", ingress=everything, egress=everything))
        tier = TierPolicies(name="t", default_action="pass", ingress=(POLICY,), egress=(POLICY,))
        free = list(EXTERNAL)
        for workload, own in zip(host.workloads, (TARGETS, SOURCES), strict=True):
            found.append(
                host.endpoint(
                    workload,
                    tiers=(tier,),
                    profiles=("x",),
                    nets=tuple(map(net_of_host, own)),
                    nats=self.nats(own, free),
                )
            )
        return found

    def flow(self, number: int) -> Flow:
        """Ports and identifiers are a packet's own, so that no connection is in another's way."""
        source = self.random.choice(SOURCES)
        targets = [address for address in TARGETS + EXTERNAL + OUTSIDE if len(address) == len(source)]
        ping = ICMP if len(source) == 4 else ICMPV6
        return Flow(
            src=source,
            dst=self.random.choice(targets),
            protocol=self.random.choice([TCP, UDP, ping]),
            sport=40000 + number,
            dport=1000 + number,
            icmp=(8 if ping == ICMP else 128, 0),
        )


def on_the_wire(flow: Flow, number: int) -> bytes:
    """A packet that carries its number where no rule looks, with a valid IPv4 header checksum."""
    data = bytearray(flow.data())
    if flow.protocol in (ICMP, ICMPV6):
        at = 20 if flow.version == 4 else 40
        data[at + 4 : at + 6] = number.to_bytes(2, "big")
    if flow.version == 6:
        data[2:4] = number.to_bytes(2, "big")
        return bytes(data)
    data[4:6] = number.to_bytes(2, "big")
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, 20, 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    data[10:12] = (total ^ 0xFFFF).to_bytes(2, "big")
    return bytes(data)


def ends(data: bytes) -> Ends:
    """Source, destination and source port (None where there is none) of a packet."""
    v4 = data[0] >> 4 == 4
    source, destination = (data[12:16], data[16:20]) if v4 else (data[8:24], data[24:40])
    protocol, at = (data[9], 20) if v4 else (data[6], 40)
    return source, destination, int.from_bytes(data[at : at + 2], "big") if protocol in (TCP, UDP) else None


def exchange(host: Any, flows: list[Flow]) -> dict[int, Ends]:
    """Send numbered flows from the second workload; how those look that reach the first before the fence does."""
    one, two = host.workloads
    ethernet = bytes.fromhex("eeeeeeeeeeee") + two.mac
    arrived: dict[int, Ends] = {}
    with one.wire() as capture, two.wire() as wire:
        for number, flow in enumerate([*flows, FENCE], 1):
            kind = b"\x86\xdd" if flow.version == 6 else b"\x08\x00"
            wire.send(ethernet + kind + on_the_wire(flow, number))
        while len(flows) + 1 not in arrived:
            data, address = capture.recvfrom(2000)
            ip = data[14:]
            if address[2] == 4 or data[12:14] not in (b"\x08\x00", b"\x86\xdd"):  # sent by the workload itself
                continue
            number = int.from_bytes(ip[4:6] if ip[0] >> 4 == 4 else ip[2:4], "big")
            if number:
                arrived.setdefault(number, ends(ip))
    del arrived[len(flows) + 1]
    return arrived


def agree(config: RulesConfig, said: Ends, found: Ends) -> bool:
    """Masquerading takes a source port at random, of the wanted ones if there are some; else it is kept."""
    if said[:2] != found[:2] or (said[2] is None) != (found[2] is None):
        return False
    is_masqueraded = said[0] in (*OUT.values(), config.nat_address_v4)
    if said[2] is None or not is_masqueraded:
        return said[2] == found[2]
    low, high = config.nat_ports or (1, 65535)
    return found[2] is not None and low <= found[2] <= high


@pytest.fixture
def quiet(host: Any, write_sysctls: Any) -> Any:
    """Every address but the second workload's is behind the first, which owns none: nobody answers."""
    write_sysctls(host.netns, {"netfilter/nf_conntrack_checksum": "0"})
    with Links(host.netns) as links:
        links.add_address("lo", "10.65.255.9/32")
        behind_first = [*TARGETS, *EXTERNAL, *OUTSIDE, FENCE.dst]
        for addresses, workload in ((behind_first, host.workloads[0]), (SOURCES, host.workloads[1])):
            for address in addresses:
                text = addr_str(address)
                links.add_route(f"{text}/{len(address) * 8}", dev=workload.interface)
                links.add_neighbour(workload.interface, text, workload.mac)
    return host


@pytest.mark.parametrize("seed", range(10))
def test_the_kernel_translates_exactly_as_the_evaluator_says(quiet: Any, seed: int) -> None:
    draw = Draw(seed)
    config = draw.config()
    quiet.use(config)
    quiet.apply(*draw.messages(quiet))
    flows = [draw.flow(number) for number in range(1, 151)]
    said: dict[int, Ends] = {}
    for number, flow in enumerate(flows, 1):
        packet = Packet(data=flow.data(), iifname="cali2", oifname="cali1", out_address=OUT[flow.version])
        outcome = forward(quiet.state, packet)
        reaches_first = ends(outcome.data)[1] not in SOURCES
        if outcome.verdict == "accept" and reaches_first:
            said[number] = ends(outcome.data)
    found = exchange(quiet, flows)
    wrong = [
        (flow, said.get(number), found.get(number))
        for number, flow in enumerate(flows, 1)
        if (number in said) != (number in found) or (number in said and not agree(config, said[number], found[number]))
    ]
    assert not wrong, (config, wrong)
