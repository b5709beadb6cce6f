"""Whatever the calculation says of pools, hosts and floating addresses: ruleset and specification translate alike."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calico.calc.messages import (
    ALL_HOSTS,
    IPAM_POOLS,
    MASQ_POOLS,
    ActiveRule,
    EndpointId,
    EndpointRemove,
    EndpointUpdate,
    Forward,
    IPSetRemove,
    IPSetUpdate,
    Message,
    PolicyUpdate,
    ProfileUpdate,
    RuleSide,
    TierPolicies,
)
from calico.lib.packed import addr_bytes, net, net_of_host
from calico.model.keys import ResourceKey
from calico.rules.config import RulesConfig
from calico.rules.evaluator.evaluate import Packet, forward, from_host, to_host
from calico.rules.packets import Flow
from calico.rules.reference.verdict import Reference
from calico.rules.ruleset import Ruleset
from calico.rules.table import TableState

OWN = {4: [addr_bytes(f"10.0.0.{n}") for n in (1, 2, 3)], 6: [addr_bytes(f"fd00::{n}") for n in (1, 2, 3)]}
EXTERNAL = {4: [addr_bytes(f"192.0.2.{n}") for n in (1, 2)], 6: [addr_bytes(f"2001:db8::{n}") for n in (1, 2)]}
HOSTS = {4: addr_bytes("198.51.100.1"), 6: addr_bytes("2001:db8:1::1")}
OUT = {4: addr_bytes("203.0.113.7"), 6: addr_bytes("2001:db8:7::7")}
METADATA = {4: addr_bytes("169.254.169.254"), 6: addr_bytes("fe80::a9fe:a9fe")}
LINK_LOCAL = addr_bytes("fe80::1")
INTERFACES = ["cali1", "cali2", "cali3", "eth0", "eth1"]
POLICY = ResourceKey("GlobalNetworkPolicy", "", "p")
SETS = (IPAM_POOLS, MASQ_POOLS, ALL_HOSTS)
NETS = [
    *(net(text) for text in ("10.0.0.0/30", "10.0.0.2/31", "192.0.2.0/31", "0.0.0.0/0", "fd00::/126", "::/0")),
    *(net_of_host(address) for family in (4, 6) for address in (*OWN[family], *EXTERNAL[family], HOSTS[family])),
]
PORTS = (53, 80, 8080)
PAIRS = [(own, external) for family in (4, 6) for own in OWN[family] for external in EXTERNAL[family]]
ADDRESSES = {family: [*OWN[family], *EXTERNAL[family], HOSTS[family]] for family in (4, 6)}


def several(values: list[Any], most: int) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(values), max_size=most, unique=True).map(tuple)


def endpoint(
    number: int, interface: str, nats: tuple[Any, ...], has_policy: bool, forwards: tuple[Forward, ...] = ()
) -> EndpointUpdate:
    tier = TierPolicies(name="t", default_action="pass", ingress=(POLICY,), egress=(POLICY,))
    unambiguous = {external: own for own, external in reversed(nats)}
    return EndpointUpdate(
        id=EndpointId("k8s", f"ns/w{number}", "eth0"),
        key=ResourceKey("WorkloadEndpoint", "ns", f"w{number}"),
        interface=interface,
        nets=tuple(net_of_host(address) for family in (4, 6) for address in OWN[family]),
        tiers=(tier,) if has_policy else (),
        profiles=("open",),
        nats=tuple((own, external) for external, own in unambiguous.items()),
        forwards=forwards,
    )


sides = st.builds(RuleSide, nets=several(NETS, 2), not_nets=several(NETS, 1))
rules = st.lists(st.builds(ActiveRule, action=st.sampled_from(["allow", "deny"]), src=sides, dst=sides), max_size=2)
forwards = st.lists(
    st.builds(
        lambda protocol, pair, external_port, own_port: Forward(protocol, pair[1], external_port, pair[0], own_port),
        st.sampled_from((6, 17)),
        st.sampled_from(PAIRS),
        st.sampled_from(PORTS),
        st.sampled_from(PORTS),
    ),
    max_size=3,
    unique_by=lambda forward: (forward.protocol, forward.external, forward.external_port),
).map(tuple)
endpoints = st.builds(
    endpoint, st.integers(1, 3), st.sampled_from(["cali1", "cali2", "eth0"]), several(PAIRS, 4), st.booleans(), forwards
)
POOLS = {
    IPAM_POOLS: several([n for n in NETS if n[-1]], 3).map(frozenset),
    MASQ_POOLS: several(NETS, 3).map(frozenset),
    ALL_HOSTS: several([net_of_host(HOSTS[family]) for family in (4, 6)], 2).map(frozenset),
}
set_updates = st.builds(
    IPSetUpdate, id=st.sampled_from(SETS), kind=st.just("nets"), members=several(NETS, 3).map(frozenset)
)
messages = st.one_of(
    endpoints,
    endpoints,
    set_updates,
    set_updates,
    st.builds(IPSetRemove, id=st.sampled_from(SETS)),
    st.integers(1, 3).map(lambda number: EndpointRemove(id=EndpointId("k8s", f"ns/w{number}", "eth0"))),
    st.builds(PolicyUpdate, key=st.just(POLICY), tier=st.just("t"), ingress=rules.map(tuple), egress=rules.map(tuple)),
)
snapshots = st.tuples(
    *(
        st.builds(IPSetUpdate, id=st.just(name), kind=st.just("nets"), members=members)
        for name, members in POOLS.items()
    ),
    st.builds(endpoint, st.just(1), st.just("cali1"), several(PAIRS, 4), st.just(False)),
    st.builds(endpoint, st.just(2), st.just("cali2"), several(PAIRS, 4), st.booleans()),
).map(list)
histories = st.builds(
    lambda snapshot, later: snapshot + later, st.one_of(snapshots, st.just([])), st.lists(messages, max_size=8)
)
configs = st.builds(
    RulesConfig,
    endpoint_to_host=st.just("accept"),
    openstack=st.booleans(),
    metadata_v4=st.sampled_from([b"", HOSTS[4], HOSTS[4]]),
    nat_ports=st.sampled_from([None, (40000, 40000), (81, 90), (1, 65535)]),
    nat_address_v4=st.sampled_from([b"", addr_bytes("203.0.113.50")]),
    nat_excludes_hosts=st.booleans(),
    nat_interface=st.sampled_from(["", "", "eth0", "eth+", "+", "eth"]),
)
OPEN = ProfileUpdate(name="open", ingress=(ActiveRule(action="allow"),), egress=(ActiveRule(action="allow"),))


def random_flow(draw: random.Random) -> Flow:
    family = draw.choice([4, 6])
    to_metadata = draw.random() < 0.3
    from_link = family == 6 and draw.random() < 0.4
    return Flow(
        src=LINK_LOCAL if from_link else draw.choice(ADDRESSES[family]),
        dst=METADATA[family] if to_metadata else draw.choice(ADDRESSES[family]),
        protocol=6 if to_metadata else draw.choice([6, 17, 132, 1 if family == 4 else 58, 47]),
        sport=draw.choice([68, 80, 85, 40000, 50000]),
        dport=draw.choice([53, 67, 80, 8775]),
        icmp=(8 if family == 4 else 128, 0),
        fragment=draw.random() < 0.1,
        extensions=((0, bytes(7)),) if family == 6 and draw.random() < 0.2 else (),
    )


_random = random.Random(7)
FLOWS = [random_flow(_random) for _ in range(2000)]
flows = st.integers(0, len(FLOWS) - 120).map(lambda start: FLOWS[start : start + 120])


def given_to(config: RulesConfig, history: list[Message]) -> tuple[TableState, Reference]:
    """A table and the specification that know a history. The sets' ids are those of the calculation: one that does not
    exist is not removed."""
    state, reference, sets = TableState(), Reference(config), set[str]()
    ruleset = Ruleset(state, config)
    for message in (OPEN, *history):
        if isinstance(message, IPSetUpdate):
            sets.add(message.id)
        if isinstance(message, IPSetRemove):
            if message.id not in sets:
                continue
            sets.discard(message.id)
        ruleset.on_message(message)
        reference.on_message(message)
    return state, reference


def unchecked(data: bytes) -> bytes:
    """A packet without the checksum of its header, which ``Flow`` leaves open."""
    return data[:10] + b"\0\0" + data[12:] if data[:1] and data[0] >> 4 == 4 else data


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(histories, configs, flows)
def test_the_ruleset_and_the_specification_translate_every_packet_alike(
    history: list[Any], config: RulesConfig, packets: list[Flow]
) -> None:
    state, reference = given_to(config, history)
    for number, flow in enumerate(packets):
        source, destination = INTERFACES[number % 5], INTERFACES[number // 5 % 5]
        out = OUT[flow.version]
        packet = Packet(data=flow.data(), iifname=source, oifname=destination, out_address=out)
        outcome = forward(state, packet)
        assert (outcome.verdict == "accept") == reference.forwards(source, destination, flow), (flow, outcome)
        if outcome.verdict == "accept":
            wanted = reference.sent(source, destination, flow, out)
            assert unchecked(outcome.data) == wanted.data(), (flow, outcome)
        outcome = to_host(state, packet)
        assert (outcome.verdict == "accept") == reference.reaches_host(source, flow), (flow, outcome)
        outcome = from_host(state, packet)
        assert (outcome.verdict == "accept") == reference.leaves_host(destination, flow)
        if outcome.verdict == "accept":
            assert unchecked(outcome.data) == reference.sent("", destination, flow, out).data(), (flow, outcome)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(histories, configs)
def test_the_table_depends_on_what_there_is_and_not_on_how_it_came_about(
    history: list[Any], config: RulesConfig
) -> None:
    state, _ = given_to(config, history)
    last: dict[Any, Message] = {}
    for message in history:
        match message:
            case EndpointUpdate() | IPSetUpdate():
                last[message.id] = message
            case EndpointRemove() | IPSetRemove():
                last.pop(message.id, None)
            case PolicyUpdate():
                last[message.key] = message
    fresh, _ = given_to(config, list(last.values()))
    assert dict(state.chains) == dict(fresh.chains)
    assert state.sets.keys() == fresh.sets.keys()
    for name in state.sets:
        assert dict(state.elements(name)) == dict(fresh.elements(name)), name


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(histories, configs)
def test_a_table_refers_to_nothing_that_it_does_not_have_and_has_no_empty_chain_of_nat(
    history: list[Any], config: RulesConfig
) -> None:
    state, _ = given_to(config, history)
    exprs = [expr for chain in state.chains.values() for rule in chain.rules for expr in rule.exprs]
    assert {expr.set for expr in exprs if hasattr(expr, "set")} <= state.sets.keys()
    assert {expr.chain for expr in exprs if getattr(expr, "chain", "")} <= state.chains.keys()
    assert all(chain.rules for chain in state.chains.values() if chain.hook and chain.hook.type == "nat")
