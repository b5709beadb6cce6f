"""Whatever the calculation says in whatever order: the rendered ruleset and the specification agree on every packet."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calico.calc.messages import (
    IPAM_POOLS,
    IPIP_HOSTS,
    VXLAN_HOSTS,
    ActiveRule,
    EndpointId,
    EndpointRemove,
    EndpointUpdate,
    HostEndpointRemove,
    HostEndpointUpdate,
    IPSetDelta,
    IPSetRemove,
    IPSetUpdate,
    Message,
    PolicyRemove,
    PolicyUpdate,
    ProfileRemove,
    ProfileUpdate,
    QoS,
    RuleSide,
    TierPolicies,
)
from calico.lib.packed import addr_bytes, addr_port, net
from calico.model.keys import ResourceKey
from calico.rules.config import FAILSAFE_IN, FAILSAFE_OUT, FailsafePort, RulesConfig
from calico.rules.evaluator.evaluate import Excess, Packet, forward, from_host, to_host
from calico.rules.packets import Flow
from calico.rules.reference.verdict import Reference
from calico.rules.ruleset import Ruleset
from calico.rules.table import TableState
from retained import retained

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
INTERFACES = ["cali1", "cali2", "cali3", "eth0", "eth1", "eth2", "lo"]
HOST_POLICIES = [ResourceKey("GlobalNetworkPolicy", "", name) for name in ("u", "d")]
POLICIES = [ResourceKey("NetworkPolicy", "ns", name) for name in ("a", "b", "c")] + [
    ResourceKey("GlobalNetworkPolicy", "", "a")
]
STAGED = [ResourceKey("StagedNetworkPolicy", "ns", "a"), ResourceKey("StagedGlobalNetworkPolicy", "", "a")]
KEYS = POLICIES + STAGED

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
        ingress=tuples(KEYS, 4),
        egress=tuples(KEYS, 4),
    ),
    max_size=3,
).map(tuple)


def policy_updates(keys: list[ResourceKey]) -> st.SearchStrategy[PolicyUpdate]:
    key = st.sampled_from(keys)
    update = st.builds(
        PolicyUpdate, key=key, tier=st.just("t"), preload=st.booleans(), ingress=rule_lists, egress=rule_lists
    )
    return update.map(lambda policy: msgspec.structs.replace(policy, kind="staged") if policy.key in STAGED else policy)


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


def host_tiers(keys: list[ResourceKey], *, egress: bool = True) -> st.SearchStrategy[tuple[TierPolicies, ...]]:
    chosen = st.lists(st.sampled_from(keys), min_size=1, max_size=2).map(tuple)
    tier = st.builds(
        TierPolicies,
        name=st.sampled_from(["t1", "t2"]),
        default_action=st.sampled_from(["deny", "pass"]),
        ingress=st.one_of(st.just(()), chosen, chosen),
        egress=st.one_of(st.just(()), chosen, chosen) if egress else st.just(()),
    )
    return st.one_of(st.just(()), st.lists(tier, min_size=1, max_size=2).map(tuple))


def host_endpoint_updates(names: list[str]) -> st.SearchStrategy[HostEndpointUpdate]:
    return st.builds(
        HostEndpointUpdate,
        name=st.sampled_from(names),
        key=st.just(ResourceKey("HostEndpoint", "", "h")),
        interface=st.sampled_from(["eth0", "eth0", "eth1", "*", "*", "", "", "cali1", "lo"]),
        expected_ips=tuples(V4[:2] + V6[:1]),
        tiers=tiers,
        forward_tiers=host_tiers(KEYS),
        untracked_tiers=host_tiers(HOST_POLICIES + STAGED),
        pre_dnat_tiers=host_tiers(HOST_POLICIES + STAGED, egress=False),
        profiles=tuples(["x", "y", "missing"]),
    )


class Link(NamedTuple):
    """An interface as the kernel tells it; None is gone."""

    name: str
    addresses: frozenset[bytes] | None


def links(names: list[str]) -> st.SearchStrategy[Link]:
    addresses = st.frozensets(st.sampled_from(V4[:3] + V6[:2]), min_size=1, max_size=2)
    return st.builds(Link, st.sampled_from(names), st.one_of(st.none(), addresses, addresses))


def host_policies(keys: list[ResourceKey]) -> st.SearchStrategy[PolicyUpdate]:
    some = st.sampled_from([(ActiveRule(action="allow", protocol=number),) for number in (6, 17)])
    rules = st.one_of(some, rule_lists)
    return st.builds(PolicyUpdate, key=st.sampled_from(keys), tier=st.just("t"), ingress=rules, egress=rules)


host_snapshots = st.tuples(
    *(host_policies([key]) for key in HOST_POLICIES),
    *(host_endpoint_updates([name]) for name in ("h1", "h2", "h3")),
    *(links([name]) for name in ("eth0", "eth1", "eth2")),
).map(list)
host_changes = st.lists(
    st.one_of(
        host_endpoint_updates(["h1", "h2", "h3"]),
        st.builds(HostEndpointRemove, name=st.sampled_from(["h1", "h2", "h3"])),
        links(["eth0", "eth1", "eth2", "lo", "cali1"]),
        host_policies(HOST_POLICIES),
    ),
    max_size=6,
)


def is_nets(name: str) -> bool:
    return name.startswith("n") or name in (IPAM_POOLS, VXLAN_HOSTS, IPIP_HOSTS)


def set_updates(name: str) -> st.SearchStrategy[IPSetUpdate]:
    nets = is_nets(name)
    members = net_members if nets else port_members
    return st.builds(IPSetUpdate, id=st.just(name), kind=st.just("nets" if nets else "ports"), members=members)


snapshots = st.tuples(
    *map(set_updates, ("n1", "n2", "p1", "p2", IPAM_POOLS, VXLAN_HOSTS, IPIP_HOSTS)),
    *(policy_updates([key]) for key in KEYS),
    *(profile_updates([name]) for name in ("x", "y")),
    endpoint_updates(1, ["cali1"]),
    endpoint_updates(2, ["cali2"]),
).map(list)
messages = st.one_of(
    *map(set_updates, ("n1", "n2", "p1", "p2", IPAM_POOLS)),
    st.tuples(st.sampled_from(["n1", "n2", IPAM_POOLS, VXLAN_HOSTS, IPIP_HOSTS]), net_members),
    st.builds(IPSetRemove, id=st.sampled_from([IPAM_POOLS, VXLAN_HOSTS, IPIP_HOSTS])),
    st.tuples(st.sampled_from(["p1", "p2"]), port_members),
    policy_updates(KEYS),
    profile_updates(["x", "y"]),
    st.integers(1, 3).flatmap(lambda number: endpoint_updates(number, ["cali1", "cali2"])),
    st.builds(EndpointRemove, id=st.just(EndpointId("k8s", "ns/w3", "eth0"))),
    host_endpoint_updates(["h1", "h2"]),
    st.builds(HostEndpointRemove, name=st.just("h1")),
    links(["eth0", "eth1"]),
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
    assert not isinstance(draft, Link)
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
        if isinstance(draft, Link):
            ruleset.on_host_interface(*draft)
            reference.on_host_interface(*draft)
            continue
        message = resolved(draft, sets)
        ruleset.on_message(message)
        reference.on_message(message)
    for number, flow in enumerate(packets):
        source, destination = INTERFACES[number % 7], INTERFACES[number // 7 % 7]
        exceeded = EXCEEDED[number % len(EXCEEDED)]
        mark = 0xFFFFFFFF if number % 3 else 0
        packet = Packet(data=flow.data(), iifname=source, oifname=destination, mark=mark, exceeded=exceeded)
        outcome = forward(state, packet)
        passes = reference.forwards(source, destination, flow, exceeded=exceeded)
        assert (outcome.verdict == "accept") == passes, (flow, outcome)
        if outcome.verdict == "accept":
            assert dscp_of(outcome.data, flow) == reference.marks(source, flow), flow
        outcome = to_host(state, packet)
        assert (outcome.verdict == "accept") == reference.reaches_host(source, flow), (flow, outcome)
        assert (from_host(state, packet).verdict == "accept") == reference.leaves_host(destination, flow)


DENY_ALL = {"failsafe_in": (), "failsafe_out": ()}
SOME_NETS = {
    "failsafe_in": (*FAILSAFE_IN[:2], FailsafePort(6, 80, net("10.0.0.0/24")), FailsafePort(17, 53, net("::/0"))),
    "failsafe_out": (*FAILSAFE_OUT[:2], FailsafePort(6, 9000, net("fd00::/111")), FailsafePort(132, 80)),
}


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    snapshots,
    host_snapshots,
    host_changes,
    flows,
    st.sampled_from([{}, DENY_ALL, SOME_NETS]),
    st.sampled_from(["drop", "reject"]),
    st.booleans(),
)
def test_they_agree_on_every_packet_of_the_host_whatever_is_translated(
    workloads: list[Any],
    hosts: list[Any],
    changes: list[Any],
    packets: list[Flow],
    ports: Any,
    deny: Any,
    drop_invalid: bool,
) -> None:
    config = RulesConfig(endpoint_to_host="accept", deny=deny, drop_invalid=drop_invalid, **ports)
    state, reference, sets = TableState(), Reference(config), dict[str, frozenset[bytes]]()
    ruleset = Ruleset(state, config)
    for draft in workloads + hosts + changes:
        if isinstance(draft, Link):
            ruleset.on_host_interface(*draft)
            reference.on_host_interface(*draft)
            continue
        message = resolved(draft, sets)
        ruleset.on_message(message)
        reference.on_message(message)
    for number, (flow, other) in enumerate(pairwise(packets)):
        source, destination = ["eth0", "eth1", "eth2", "cali1"][number % 4], INTERFACES[number // 4 % 7]
        elsewhere = INTERFACES[number // 28 % 7]
        mark = 0xFFFFFFFF if number % 2 else 0
        packet = Packet(data=flow.data(), iifname=source, oifname=destination, mark=mark)
        new = other if other.version == flow.version and number % 5 else None
        changed = Packet(data=new.data(), iifname=source, oifname=elsewhere) if new else None
        then = (elsewhere, new) if new else None
        outcome = forward(state, packet, changed)
        assert (outcome.verdict == "accept") == reference.forwards(source, destination, flow, then), (
            flow,
            new,
            outcome,
        )
        outcome = to_host(state, packet, changed)
        assert (outcome.verdict == "accept") == reference.reaches_host(source, flow, new), (flow, new, outcome)
        outcome = from_host(state, packet, changed)
        assert (outcome.verdict == "accept") == reference.leaves_host(destination, flow, then), (flow, new, outcome)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(messages, max_size=16))
def test_the_table_depends_on_the_last_message_about_each_thing_only(history: list[Any]) -> None:
    state, sets, last = TableState(), dict[str, frozenset[bytes]](), dict[Any, Any]()
    ruleset = Ruleset(state, RulesConfig())
    for draft in history:
        if isinstance(draft, Link):
            ruleset.on_host_interface(*draft)
            if draft.addresses is None:
                last.pop(draft.name, None)
            else:
                last[draft.name] = draft
            continue
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
            case HostEndpointUpdate():
                last[message.name] = message
            case HostEndpointRemove():
                last.pop(message.name, None)
    fresh = TableState()
    again = Ruleset(fresh, RulesConfig())
    for message in last.values():
        if isinstance(message, Link):
            again.on_host_interface(*message)
        else:
            again.on_message(message)
    assert dict(state.chains) == dict(fresh.chains)
    assert state.sets.keys() == fresh.sets.keys()
    for name in state.sets:
        assert dict(state.elements(name)) == dict(fresh.elements(name)), name


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(messages, max_size=16))
def test_when_everything_is_gone_nothing_of_it_is_remembered(history: list[Any]) -> None:
    states, sets = (TableState(), TableState()), dict[str, frozenset[bytes]]()
    rulesets = [Ruleset(state, RulesConfig()) for state in states]
    for draft in history:
        if isinstance(draft, Link):
            rulesets[0].on_host_interface(*draft)
        else:
            rulesets[0].on_message(resolved(draft, sets))
    for state, each in zip(states, rulesets, strict=True):
        for name in sets:
            each.on_message(IPSetRemove(id=name))
        for message in history:
            match message:
                case EndpointUpdate():
                    each.on_message(EndpointRemove(id=message.id))
                case HostEndpointUpdate():
                    each.on_message(HostEndpointRemove(name=message.name))
                case PolicyUpdate():
                    each.on_message(PolicyRemove(key=message.key))
                case ProfileUpdate():
                    each.on_message(ProfileRemove(name=message.name))
                case Link():
                    each.on_host_interface(message.name, None)
        each.take_affected()
        state.take()
    assert retained(rulesets[0]) == retained(rulesets[1])


def test_a_table_refers_to_nothing_that_it_does_not_have() -> None:
    state, sets = TableState(), dict[str, frozenset[bytes]]()
    ruleset = Ruleset(state, RulesConfig())

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(messages)
    def check(draft: Any) -> None:
        if isinstance(draft, Link):
            ruleset.on_host_interface(*draft)
        else:
            ruleset.on_message(resolved(draft, sets))
        exprs = [expr for chain in state.chains.values() for rule in chain.rules for expr in rule.exprs]
        verdicts = [verdict for name in state.sets for verdict in state.elements(name).values() if verdict]
        assert {expr.set for expr in exprs if hasattr(expr, "set")} <= state.sets.keys()
        assert {v.chain for v in [*exprs, *verdicts] if getattr(v, "chain", "")} <= state.chains.keys()

    check()
