"""Whatever the calculation says in whatever order: the rendered ruleset and the specification agree on every packet."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calico.calc.messages import (
    IPAM_POOLS,
    ActiveRule,
    EndpointId,
    EndpointRemove,
    EndpointUpdate,
    IPSetDelta,
    IPSetRemove,
    IPSetUpdate,
    Message,
    PolicyUpdate,
    ProfileUpdate,
    QoS,
    RuleSide,
    TierPolicies,
)
from calico.lib.packed import addr_bytes, addr_port, net
from calico.model.keys import ResourceKey
from calico.rules.config import RulesConfig
from calico.rules.evaluate import Excess, Packet, forward, from_host, to_host
from calico.rules.packets import Flow
from calico.rules.reference import Reference
from calico.rules.ruleset import Ruleset
from calico.rules.table import TableState

V4 = [addr_bytes(f"10.0.{i}.{j}") for i in (0, 1) for j in (1, 2, 130)]
V6 = [addr_bytes(f"fd00::{i}:{j}") for i in (0, 1) for j in (1, 2, 8001)]
HOSTS = [address + bytes((len(address) * 8,)) for address in V4 + V6]
NETS4 = [
    net(text) for text in ("10.0.0.0/8", "10.0.0.0/23", "10.0.1.0/24", "10.0.0.128/25", "10.0.1.2/31", "0.0.0.0/0")
]
NETS6 = [net(text) for text in ("fd00::/16", "fd00::/111", "fd00::1:0/112", "fd00::8000/113", "::/0")]
ALL_NETS = HOSTS + NETS4 + NETS6
PORTS = [22, 53, 67, 68, 80, 81, 546, 547, 4789, 9000]
PROTOCOLS = [1, 4, 6, 17, 47, 58, 132]
INTERFACES = ["cali1", "cali2", "cali3", "eth0"]
POLICIES = [ResourceKey("NetworkPolicy", "ns", name) for name in ("a", "b", "c")] + [
    ResourceKey("GlobalNetworkPolicy", "", "a")
]

port_ranges = st.lists(
    st.sampled_from([(80, 80), (22, 22), (53, 80), (80, 81), (0, 65535), (1, 2000), (4000, 9000)]), max_size=3
).map(tuple)


def tuples(values: list[Any], size: int = 2) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(values), max_size=size).map(tuple)


def mostly_empty(strategy: st.SearchStrategy[Any], empty: Any = ()) -> st.SearchStrategy[Any]:
    return st.one_of(st.just(empty), st.just(empty), st.just(empty), strategy)


sides = st.builds(
    RuleSide,
    nets=mostly_empty(tuples(ALL_NETS, 3)),
    not_nets=mostly_empty(tuples(ALL_NETS)),
    ip_sets=mostly_empty(tuples(["n1", "n2"])),
    not_ip_sets=mostly_empty(tuples(["n1", "n2"])),
    ports=mostly_empty(port_ranges),
    not_ports=mostly_empty(port_ranges),
    named_ports=mostly_empty(tuples(["p1", "p2"])),
    not_named_ports=mostly_empty(tuples(["p1", "p2"])),
)
icmps = st.tuples(st.sampled_from([8, 128, 135]), st.sampled_from([None, 0, 1]))
active_rules = st.builds(
    ActiveRule,
    action=st.sampled_from(["allow", "allow", "deny", "pass", "log"]),
    ip_version=st.sampled_from([None, None, None, 4, 6]),
    protocol=st.sampled_from([None, None, 6, 17, *PROTOCOLS]),
    not_protocol=st.sampled_from([None, None, None, *PROTOCOLS]),
    icmp=st.one_of(st.none(), st.none(), st.none(), st.none(), st.none(), icmps),
    not_icmp=st.one_of(st.none(), st.none(), st.none(), st.none(), st.none(), icmps),
    src=st.one_of(st.just(RuleSide()), sides),
    dst=st.one_of(st.just(RuleSide()), sides),
)
rule_lists = st.lists(active_rules, max_size=3).map(tuple)
net_members = st.frozensets(st.sampled_from(ALL_NETS), max_size=6)
port_members = st.frozensets(
    st.builds(addr_port, st.sampled_from(V4 + V6), st.sampled_from([6, 17]), st.sampled_from([80, 53])), max_size=5
)
tiers = st.lists(
    st.builds(
        TierPolicies,
        name=st.sampled_from(["t1", "t2"]),
        default_action=st.sampled_from(["deny", "pass"]),
        ingress=tuples(POLICIES, 3),
        egress=tuples(POLICIES, 3),
    ),
    max_size=3,
).map(tuple)


def policy_updates(keys: list[ResourceKey]) -> st.SearchStrategy[PolicyUpdate]:
    key = st.sampled_from(keys)
    return st.builds(PolicyUpdate, key=key, tier=st.just("t"), ingress=rule_lists, egress=rule_lists)


def profile_updates(names: list[str]) -> st.SearchStrategy[ProfileUpdate]:
    rules = st.one_of(st.just((ActiveRule(action="allow"),)), rule_lists)
    return st.builds(ProfileUpdate, name=st.sampled_from(names), ingress=rules, egress=rules)


limits = st.one_of(
    st.none(),
    st.builds(
        QoS,
        egress_bandwidth=st.sampled_from([0, 8000]),
        ingress_packet_rate=st.sampled_from([0, 10]),
        egress_packet_rate=st.sampled_from([0, 10]),
        ingress_max_connections=st.sampled_from([0, 1]),
        egress_max_connections=st.sampled_from([0, 1]),
        dscp=st.sampled_from([None, 10, 46, 46]),
    ),
)


def endpoint_updates(number: int, interfaces: list[str]) -> st.SearchStrategy[EndpointUpdate]:
    return st.builds(
        EndpointUpdate,
        id=st.just(EndpointId("k8s", f"ns/w{number}", "eth0")),
        key=st.just(ResourceKey("WorkloadEndpoint", "ns", "w")),
        interface=st.sampled_from(interfaces),
        nets=st.just(tuple(HOSTS)),
        tiers=tiers,
        profiles=st.one_of(st.just(("x",)), tuples(["x", "y", "missing"])),
        qos=limits,
    )


def is_nets(name: str) -> bool:
    return name.startswith("n") or name == IPAM_POOLS


def set_updates(name: str) -> st.SearchStrategy[IPSetUpdate]:
    nets = is_nets(name)
    members = net_members if nets else port_members
    return st.builds(IPSetUpdate, id=st.just(name), kind=st.just("nets" if nets else "ports"), members=members)


snapshots = st.tuples(
    *map(set_updates, ("n1", "n2", "p1", "p2", IPAM_POOLS)),
    *(policy_updates([key]) for key in POLICIES),
    *(profile_updates([name]) for name in ("x", "y")),
    endpoint_updates(1, ["cali1"]),
    endpoint_updates(2, ["cali2"]),
).map(list)
messages = st.one_of(
    *map(set_updates, ("n1", "n2", "p1", "p2", IPAM_POOLS)),
    st.tuples(st.sampled_from(["n1", "n2", IPAM_POOLS]), net_members),
    st.builds(IPSetRemove, id=st.just(IPAM_POOLS)),
    st.tuples(st.sampled_from(["p1", "p2"]), port_members),
    policy_updates(POLICIES),
    profile_updates(["x", "y"]),
    st.integers(1, 3).flatmap(lambda number: endpoint_updates(number, ["cali1", "cali2"])),
    st.builds(EndpointRemove, id=st.just(EndpointId("k8s", "ns/w3", "eth0"))),
)
histories = st.builds(lambda snapshot, later: snapshot + later, snapshots, st.lists(messages, max_size=6))


def random_flow(draw: random.Random) -> Flow:
    """A packet of a workload: mostly from an address of its own, sometimes one that only looks like it."""
    v6 = draw.random() < 0.5
    plain, odd_sources = (V6, ["::", "fe80::1", "fd99::1"]) if v6 else (V4, ["0.0.0.0", "9.9.9.9"])
    odd_targets = ["ff02::1", "ff02::1:2"] if v6 else ["255.255.255.255"]
    is_odd = draw.random() < 0.25
    return Flow(
        src=addr_bytes(draw.choice(odd_sources)) if is_odd else draw.choice(plain),
        dst=addr_bytes(draw.choice(odd_targets)) if draw.random() < 0.2 else draw.choice(plain),
        protocol=draw.choice([6, 6, 17, 17, *PROTOCOLS]),
        sport=draw.choice(PORTS),
        dport=draw.choice(PORTS),
        icmp=(draw.choice([5, 8, 128, 131, 134, 135, 137]), draw.choice([0, 1])),
        fragment=draw.random() < 0.15,
        hop_limit=draw.choice([64, 255]),
        options=b"" if v6 or draw.random() < 0.8 else b"\x83\x04\x04\0",
        extensions=draw.choice([(), (), ((0, bytes(7)),), ((43, b"\0\0\x01\0\0\0\0"),)]) if v6 else (),
    )


_random = random.Random(20)
EXCEEDED: list[frozenset[Excess]] = [
    *[frozenset()] * 8,
    frozenset(("packets",)),
    frozenset(("bytes",)),
    frozenset(("connections",)),
]
FLOWS = [random_flow(_random) for _ in range(3000)]
flows = st.integers(0, len(FLOWS) - 150).map(lambda start: FLOWS[start : start + 150])


def resolved(draft: Any, sets: dict[str, frozenset[bytes]]) -> Message:
    """A drawn (set, members) becomes the delta to those members, as the calculation would send it."""
    if not isinstance(draft, tuple):
        if isinstance(draft, IPSetUpdate):
            sets[draft.id] = draft.members
        if isinstance(draft, IPSetRemove) and sets.pop(draft.id, None) is None:
            return resolved((draft.id, frozenset[bytes]()), sets)  # there is nothing to remove: made empty instead
        return draft
    name, members = draft
    before = sets.get(name)
    sets[name] = members
    if before is None:
        return IPSetUpdate(id=name, kind="nets" if is_nets(name) else "ports", members=members)
    return IPSetDelta(id=name, added=members - before, removed=before - members)


def dscp_of(data: bytes, flow: Flow) -> int | None:
    """The DSCP that a packet has got on its way; None when it is as it was (flows begin with 0)."""
    before = flow.data()
    if data == before:
        return None
    ecn_and_rest = 0xF03F if flow.version == 6 else 0xFF03
    old, new = int.from_bytes(before[:2], "big"), int.from_bytes(data[:2], "big")
    assert old & ecn_and_rest == new & ecn_and_rest
    kept = slice(2, None) if flow.version == 6 else slice(2, 10)  # the checksum of IPv4 follows
    assert before[kept] == data[kept]
    assert before[12:] == data[12:]
    return (new & 0x0FFF) >> 6 if flow.version == 6 else (new & 0xFF) >> 2


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    histories,
    flows,
    st.sampled_from(["drop", "accept", "return"]),
    st.sampled_from(["drop", "reject"]),
)
def test_the_ruleset_and_the_specification_agree_on_every_packet(
    history: list[Any], packets: list[Flow], to_own_host: Any, deny: Any
) -> None:
    config = RulesConfig(endpoint_to_host=to_own_host, deny=deny)
    state, reference, sets = TableState(), Reference(config), dict[str, frozenset[bytes]]()
    ruleset = Ruleset(state, config)
    for draft in history:
        message = resolved(draft, sets)
        ruleset.on_message(message)
        reference.on_message(message)
    for number, flow in enumerate(packets):
        source, destination = INTERFACES[number % 4], INTERFACES[number // 4 % 4]
        exceeded = EXCEEDED[number % len(EXCEEDED)]
        mark = 0xFFFFFFFF if number % 3 else 0
        packet = Packet(data=flow.data(), iifname=source, oifname=destination, mark=mark, exceeded=exceeded)
        outcome = forward(state, packet)
        assert (outcome.verdict == "accept") == reference.forwards(source, destination, flow, exceeded), (flow, outcome)
        if outcome.verdict == "accept":
            assert dscp_of(outcome.data, flow) == reference.marks(source, flow), flow
        outcome = to_host(state, packet)
        assert (outcome.verdict == "accept") == reference.reaches_host(source, flow), (flow, outcome)
        assert (from_host(state, packet).verdict == "accept") == reference.leaves_host(destination)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(messages, max_size=16))
def test_the_table_depends_on_the_last_message_about_each_thing_only(history: list[Any]) -> None:
    state, sets, last = TableState(), dict[str, frozenset[bytes]](), dict[Any, Message]()
    ruleset = Ruleset(state, RulesConfig())
    for draft in history:
        message = resolved(draft, sets)
        ruleset.on_message(message)
        match message:
            case IPSetUpdate() | IPSetDelta():
                kind = "nets" if is_nets(message.id) else "ports"
                last[message.id] = IPSetUpdate(id=message.id, kind=kind, members=sets[message.id])
            case IPSetRemove():
                last.pop(message.id, None)
            case PolicyUpdate():
                last[message.key] = message
            case ProfileUpdate():
                last[message.name] = message
            case EndpointRemove():
                last.pop(message.id, None)
            case EndpointUpdate():
                last[message.id] = message
    fresh = TableState()
    again = Ruleset(fresh, RulesConfig())
    for message in last.values():
        again.on_message(message)
    assert dict(state.chains) == dict(fresh.chains)
    assert state.sets.keys() == fresh.sets.keys()
    for name in state.sets:
        assert dict(state.elements(name)) == dict(fresh.elements(name)), name


def test_a_table_refers_to_nothing_that_it_does_not_have() -> None:
    state, sets = TableState(), dict[str, frozenset[bytes]]()
    ruleset = Ruleset(state, RulesConfig())

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(messages)
    def check(draft: Any) -> None:
        ruleset.on_message(resolved(draft, sets))
        exprs = [expr for chain in state.chains.values() for rule in chain.rules for expr in rule.exprs]
        verdicts = [verdict for name in state.sets for verdict in state.elements(name).values() if verdict]
        assert {expr.set for expr in exprs if hasattr(expr, "set")} <= state.sets.keys()
        assert {v.chain for v in [*exprs, *verdicts] if getattr(v, "chain", "")} <= state.chains.keys()

    check()
