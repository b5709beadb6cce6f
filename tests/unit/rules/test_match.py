"""Every condition of a rule, alone and a few together, against the specification; each action in its sentence."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calico.calc.messages import (
    ActiveRule,
    EndpointId,
    EndpointUpdate,
    IPSetUpdate,
    Message,
    PolicyUpdate,
    RuleSide,
    TierPolicies,
)
from calico.lib.packed import addr_bytes, addr_port, net, net_of_host
from calico.model.keys import ResourceKey
from calico.netlink.nftables.expr import Meta, Range, Reject, Verdict
from calico.rules.config import RulesConfig
from calico.rules.evaluator.evaluate import Packet, forward
from calico.rules.loads import ACCEPT, family
from calico.rules.packets import Flow
from calico.rules.reference.verdict import Reference
from calico.rules.ruleset import Ruleset
from calico.rules.table import TableState

KEY = ResourceKey("NetworkPolicy", "ns", "a")
ADDRESSES = [addr_bytes(text) for text in ("10.0.0.1", "10.0.0.130", "10.0.1.1", "fd00::1", "fd00::8001", "fd00::1:1")]
NETS = [net(text) for text in ("10.0.0.0/24", "10.0.0.128/25", "10.0.0.0/23", "0.0.0.0/0")]
NETS += [net(text) for text in ("fd00::/112", "fd00::8000/113", "::/0")] + [net_of_host(a) for a in ADDRESSES]
RANGES = [(80, 80), (22, 22), (53, 80), (0, 65535), (1, 2000), (4000, 9000)]
SETS: list[Message] = [
    IPSetUpdate(id="hosts", kind="nets", members=frozenset(map(net_of_host, ADDRESSES[::2]))),
    IPSetUpdate(id="mixed", kind="nets", members=frozenset([*NETS[1:2], *NETS[5:6], net_of_host(ADDRESSES[2])])),
    IPSetUpdate(id="none", kind="nets", members=frozenset()),
    IPSetUpdate(
        id="http", kind="ports", members=frozenset(addr_port(a, p, 80) for a in ADDRESSES[:4] for p in (6, 17))
    ),
    IPSetUpdate(id="dns", kind="ports", members=frozenset(addr_port(a, 17, 53) for a in ADDRESSES)),
]
FLOWS = [
    Flow(src=src, dst=dst, protocol=protocol, sport=sport, dport=dport, icmp=icmp, fragment=fragment)
    for src, dst in product(ADDRESSES, ADDRESSES)
    if len(src) == len(dst) and src != dst
    for protocol, sport, dport, icmp, fragment in (
        (6, 22, 80, (8, 0), False),
        (6, 80, 81, (8, 0), False),
        (17, 53, 80, (8, 0), False),
        (17, 80, 53, (8, 0), False),
        (17, 9000, 1500, (8, 0), False),
        (17, 53, 80, (8, 0), True),
        (132, 80, 22, (8, 0), False),
        (1, 0, 0, (8, 0), False),
        (1, 0, 0, (8, 1), False),
        (1, 0, 0, (3, 1), True),
        (58, 0, 0, (128, 0), False),
        (58, 0, 0, (8, 1), False),
        (47, 0, 0, (0, 0), False),
    )
]


def tuples(values: list[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=3).map(tuple)


side_fields = {
    "nets": tuples(NETS),
    "not_nets": tuples(NETS),
    "ip_sets": tuples(["hosts", "mixed", "mixed", "none"]),
    "not_ip_sets": tuples(["hosts", "mixed", "none"]),
    "ports": tuples([*RANGES, (90, 10)]),
    "not_ports": tuples(RANGES),
    "named_ports": tuples(["http", "dns"]),
    "not_named_ports": tuples(["http", "dns"]),
}
protocols = st.sampled_from([6, 17, 132, 1, 58, 47])
icmps = st.tuples(st.sampled_from([8, 128]), st.sampled_from([None, 0, 1]))
rule_fields = {
    "ip_version": st.sampled_from([4, 6]),
    "protocol": protocols,
    "not_protocol": protocols,
    "icmp": icmps,
    "not_icmp": icmps,
}


@st.composite
def rules_with_few_conditions(draw: st.DrawFn) -> ActiveRule:
    """One to three conditions, of any kind."""
    sides: dict[str, dict[str, Any]] = {"src": {}, "dst": {}}
    fields: dict[str, Any] = {}
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from([*rule_fields, *side_fields, *side_fields]))
        if name in rule_fields:
            fields[name] = draw(rule_fields[name])
        else:
            sides[draw(st.sampled_from(["src", "dst"]))][name] = draw(side_fields[name])
    return ActiveRule(action="allow", src=RuleSide(**sides["src"]), dst=RuleSide(**sides["dst"]), **fields)


def endpoint(*tiers: TierPolicies, profiles: tuple[str, ...] = ()) -> EndpointUpdate:
    return EndpointUpdate(
        id=EndpointId("k8s", "ns/w", "eth0"),
        key=ResourceKey("WorkloadEndpoint", "ns", "w"),
        interface="cali1",
        tiers=tiers,
        profiles=profiles,
    )


def policed(*rules: ActiveRule, config: RulesConfig | None = None) -> tuple[TableState, Reference]:
    """A workload whose ingress has one policy with these rules."""
    config = config or RulesConfig()
    state, reference = TableState(), Reference(config)
    ruleset = Ruleset(state, config)
    policy = PolicyUpdate(key=KEY, tier="t", ingress=rules, egress=())
    tier = TierPolicies(name="t", default_action="deny", ingress=(KEY,))
    for message in [*SETS, policy, endpoint(tier)]:
        ruleset.on_message(message)
        reference.on_message(message)
    return state, reference


def passes(state: TableState, flow: Flow) -> bool:
    return forward(state, Packet(data=flow.data(), iifname="eth0", oifname="cali1")).verdict == "accept"


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(rules_with_few_conditions(), st.integers(0, 6))
def test_a_rule_matches_exactly_the_packets_that_fulfil_its_conditions(rule: ActiveRule, start: int) -> None:
    state, reference = policed(rule)
    for flow in FLOWS[start::7]:
        assert passes(state, flow) == reference.forwards("eth0", "cali1", flow), flow


def flow(src: str = "10.9.0.1", dst: str = "10.0.0.1", **fields: Any) -> Flow:
    return Flow(src=addr_bytes(src), dst=addr_bytes(dst), **fields)


def accepted(rule: ActiveRule, *flows: Flow) -> list[bool]:
    state, _ = policed(rule)
    return [passes(state, one) for one in flows]


ENDS = pytest.mark.parametrize(("src", "dst"), [("10.9.0.1", "10.0.0.1"), ("fd09::1", "fd00::1")], ids=["v4", "v6"])


@ENDS
def test_a_rule_without_conditions_matches_both_families(src: str, dst: str) -> None:
    assert accepted(ActiveRule(action="allow"), flow(src, dst), flow(src, dst, protocol=47)) == [True, True]


@ENDS
def test_networks_of_one_side_are_alternatives(src: str, dst: str) -> None:
    side = RuleSide(nets=tuple(map(net, ("10.9.0.0/24", "10.8.0.0/16", "fd09::/64", "fd08::/16"))))
    other = flow("10.7.0.1" if "." in src else "fd07::1", dst)
    assert accepted(ActiveRule(action="allow", src=side), flow(src, dst), other) == [True, False]


def test_a_rule_with_networks_of_one_family_never_matches_the_other_even_if_they_are_negated() -> None:
    rule = ActiveRule(action="allow", src=RuleSide(not_nets=(net("10.8.0.0/16"),)))
    assert accepted(rule, flow(), flow("10.8.0.1"), flow("fd09::1", "fd00::1")) == [True, False, False]


def test_an_address_must_be_in_every_set_whether_as_an_address_or_in_a_network() -> None:
    rule = ActiveRule(action="allow", src=RuleSide(ip_sets=("hosts", "mixed")))
    flows = [flow(src) for src in ("10.0.0.1", "10.0.0.130", "10.0.1.1")]
    assert accepted(rule, *flows) == [False, False, True]


def test_numeric_and_named_ports_are_alternatives() -> None:
    rule = ActiveRule(action="allow", protocol=6, dst=RuleSide(ports=((22, 22),), named_ports=("http",)))
    flows = [flow(dport=port) for port in (22, 80, 81)]
    assert accepted(rule, *flows, flow(dst="10.0.0.9", dport=80)) == [True, True, False, False]


def test_ports_of_a_rule_without_protocol_are_those_of_tcp_udp_and_sctp_only() -> None:
    rule = ActiveRule(action="allow", dst=RuleSide(ports=((0, 65535),)))
    assert accepted(rule, *(flow(protocol=p) for p in (6, 17, 132, 1, 47))) == [True, True, True, False, False]


def test_a_later_fragment_fulfils_no_condition_on_ports() -> None:
    later = flow(protocol=17, fragment=True)
    assert accepted(ActiveRule(action="allow", protocol=17, dst=RuleSide(not_ports=((22, 22),))), later) == [False]
    assert accepted(ActiveRule(action="allow", protocol=17), later) == [True]


def test_icmp_type_and_code_both_count_and_type_alone_suffices() -> None:
    pings = [flow(protocol=1, icmp=icmp) for icmp in ((8, 0), (8, 1), (0, 0))]
    assert accepted(ActiveRule(action="allow", protocol=1, icmp=(8, 0)), *pings) == [True, False, False]
    assert accepted(ActiveRule(action="allow", protocol=1, icmp=(8, None)), *pings) == [True, True, False]
    assert accepted(ActiveRule(action="allow", protocol=1, not_icmp=(8, 0)), *pings) == [False, True, True]


def test_a_few_wide_ranges_stay_ranges_and_many_ports_are_one_lookup() -> None:
    ports = ((1, 1), (3, 3), (5, 9), (10, 12), (20000, 30000))
    state, _ = policed(ActiveRule(action="allow", protocol=6, dst=RuleSide(ports=ports)))
    rules = state.chains["pi-np/ns/a"].rules
    assert len(rules) == 2
    assert sum(isinstance(expr, Range) for rule in rules for expr in rule.exprs) == 1
    (constant,) = (name for name in state.sets if name.startswith("cp-"))
    assert len(state.elements(constant)) == 10


def test_a_rule_that_is_too_large_for_the_kernel_denies_everything_of_its_policy() -> None:
    huge = ActiveRule(action="allow", src=RuleSide(ip_sets=("mixed",) * 11))
    state, _ = policed(ActiveRule(action="allow"), huge)
    assert len(state.chains["pi-np/ns/a"].rules) == 1
    assert not passes(state, flow())


def test_log_goes_on_with_the_next_rule_and_uses_the_configured_prefix() -> None:
    state, _ = policed(ActiveRule(action="log"), ActiveRule(action="allow"), config=RulesConfig(log_prefix="seen"))
    outcome = forward(state, Packet(data=flow().data(), iifname="eth0", oifname="cali1"))
    assert (outcome.verdict, outcome.logs) == ("accept", ("seen: ",))


@pytest.mark.parametrize(("deny", "action"), [("drop", Verdict("drop")), ("reject", Reject("icmpx-port-unreachable"))])
def test_deny_is_final_even_if_a_later_rule_allows_and_is_answered_if_so_configured(deny: Any, action: Any) -> None:
    state, _ = policed(ActiveRule(action="deny"), ActiveRule(action="allow"), config=RulesConfig(deny=deny))
    outcome = forward(state, Packet(data=flow().data(), iifname="eth0", oifname="cali1"))
    assert outcome.verdict == "drop"
    assert outcome.trace[-1] == ("pi-np/ns/a", "NetworkPolicy ns/a ingress rule 0")
    assert state.chains["pi-np/ns/a"].rules[0].exprs[-1] == action


def test_ports_of_a_protocol_without_ports_match_nothing_and_exclude_nothing() -> None:
    ping, everything = flow(protocol=1), ((0, 65535),)
    assert accepted(ActiveRule(action="allow", protocol=1, dst=RuleSide(ports=everything)), ping) == [False]
    assert accepted(ActiveRule(action="allow", protocol=1, dst=RuleSide(not_ports=everything)), ping) == [True]


def test_a_constant_set_is_shared_by_content_and_goes_with_the_last_chain_that_uses_it() -> None:
    state = TableState()
    ruleset = Ruleset(state, RulesConfig())
    many = RuleSide(ports=((1, 1), (3, 3)))
    keys = [KEY, ResourceKey("NetworkPolicy", "ns", "b")]
    for key in keys:
        rules = (ActiveRule(action="allow", protocol=6, dst=many),)
        ruleset.on_message(PolicyUpdate(key=key, tier="t", ingress=rules, egress=()))

    def constants() -> int:
        return sum(name.startswith("cp-") for name in state.sets)

    ruleset.on_message(endpoint(TierPolicies(name="t", default_action="deny", ingress=tuple(keys))))
    assert constants() == 1
    ruleset.on_message(PolicyUpdate(key=keys[0], tier="t", ingress=(), egress=()))
    assert constants() == 1
    ruleset.on_message(endpoint())
    assert constants() == 0


def two_part_sets(count: int) -> list[IPSetUpdate]:
    """Sets that are a hash of addresses and an interval set each: two alternatives."""
    members = frozenset(map(net, ("10.0.0.0/8", "192.0.2.1")))
    return [IPSetUpdate(id=f"s{number}", kind="nets", members=members) for number in range(count)]


def is_too_large(rule: ActiveRule, *sets: IPSetUpdate) -> bool:
    state = TableState()
    ruleset = Ruleset(state, RulesConfig())
    policy = PolicyUpdate(key=KEY, tier="t", ingress=(rule,), egress=())
    for message in (*sets, policy, endpoint(TierPolicies(name="t", default_action="deny", ingress=(KEY,)))):
        ruleset.on_message(message)
    return [r.comment for r in state.chains["pi-np/ns/a"].rules] == [
        "NetworkPolicy ns/a ingress rule 0 is too large: deny"
    ]


@pytest.mark.parametrize(("count", "too_large"), [(10, False), (11, True)])
def test_a_rule_may_become_1024_rules_of_the_kernel_and_not_more(count: int, too_large: bool) -> None:
    sets = two_part_sets(count)
    side = RuleSide(ip_sets=tuple(one.id for one in sets))
    assert is_too_large(ActiveRule(action="allow", ip_version=4, src=side), *sets) == too_large


@pytest.mark.parametrize(("sources", "targets", "too_large"), [(32, 32, False), (25, 41, True)])
def test_so_many_alternatives_of_two_ends_are_counted_together(sources: int, targets: int, too_large: bool) -> None:
    ids = [f"p{number}" for number in range(41)]
    sets = [IPSetUpdate(id=name, kind="ports", members=frozenset()) for name in ids]
    src, dst = (RuleSide(named_ports=tuple(ids[:count])) for count in (sources, targets))
    assert is_too_large(ActiveRule(action="allow", ip_version=4, protocol=6, src=src, dst=dst), *sets) == too_large


@pytest.mark.parametrize(("nets", "too_large"), [((), False), (("10.0.0.0/9",), True)])
def test_a_rule_of_the_kernel_has_at_most_120_expressions(nets: tuple[str, ...], too_large: bool) -> None:
    sets = [IPSetUpdate(id=f"s{number}", kind="nets", members=frozenset()) for number in range(59)]
    ids = tuple(one.id for one in sets)[: 58 if nets else 59]
    side = RuleSide(not_ip_sets=ids, nets=tuple(map(net, nets)))
    assert is_too_large(ActiveRule(action="allow", ip_version=4, src=side), *sets) == too_large


def test_a_rule_that_can_never_match_needs_no_constant_sets() -> None:
    many = RuleSide(ports=((1, 1), (3, 3)))
    state, _ = policed(ActiveRule(action="allow", protocol=6, not_protocol=6, dst=many))
    assert not [name for name in state.sets if name.startswith("c")]
    assert state.chains["pi-np/ns/a"].rules == ()


def test_a_network_of_everything_is_no_condition_and_its_negation_matches_nothing() -> None:
    for nets in (("0.0.0.0/0",), ("10.0.0.0/8", "0.0.0.0/0")):
        state, _ = policed(ActiveRule(action="allow", src=RuleSide(nets=tuple(map(net, nets)))))
        assert [rule.exprs for rule in state.chains["pi-np/ns/a"].rules] == [(*family(4), ACCEPT)]
        state, _ = policed(ActiveRule(action="allow", src=RuleSide(not_nets=tuple(map(net, nets)))))
        assert state.chains["pi-np/ns/a"].rules == ()


def test_half_of_all_addresses_is_a_condition() -> None:
    rule = ActiveRule(action="allow", src=RuleSide(nets=(net("128.0.0.0/1"),)))
    assert accepted(rule, flow("192.0.2.1"), flow("10.9.0.1")) == [True, False]


def test_one_network_stands_in_the_rule_and_several_are_one_lookup() -> None:
    def constants(*nets: str) -> int:
        state, _ = policed(ActiveRule(action="allow", src=RuleSide(nets=tuple(map(net, nets)))))
        return sum(name.startswith("c-") for name in state.sets)

    assert (constants("10.0.0.0/8"), constants("10.0.0.0/8", "192.0.2.1")) == (0, 1)


@pytest.mark.parametrize(
    ("ports", "rules", "looked_up"),
    [
        ([(80, 80)], 1, 0),
        ([(80, 90)], 1, 0),
        ([(40000, 40000), (50000, 50001)], 1, 3),
        ([(1, 1024), (2000, 2000)], 1, 1025),
        ([(1, 1025), (2000, 2000)], 2, 1),
        ([(n, n + 1024) for n in (1, 2000, 4000, 6000)], 4, 0),
        ([(n, n + 1024) for n in (1, 2000, 4000, 6000, 8000)], 1, 5 * 1025),
    ],
)
def test_one_range_or_up_to_four_wide_ones_stand_in_rules_and_other_ports_are_looked_up(
    ports: list[tuple[int, int]], rules: int, looked_up: int
) -> None:
    state, _ = policed(ActiveRule(action="allow", protocol=6, dst=RuleSide(ports=tuple(ports))))
    assert len(state.chains["pi-np/ns/a"].rules) == rules
    assert sum(len(state.elements(name)) for name in state.sets if name.startswith("cp-")) == looked_up


PORT_FIELDS: list[tuple[str, Any]] = [
    ("ports", ((80, 80),)),
    ("ports", ((79, 80),)),
    ("ports", ((22, 22), (80, 81))),
    ("not_ports", ((80, 80),)),
    ("not_ports", ((79, 80),)),
    ("not_ports", ((22, 22), (80, 81))),
    ("named_ports", ("http",)),
    ("named_ports", ("dns", "http")),
    ("not_named_ports", ("http",)),
    ("not_named_ports", ("dns", "http")),
]
PORT_SIDES = [RuleSide(**{name: value}) for name, value in PORT_FIELDS] + [
    RuleSide(**dict(both)) for both in combinations(PORT_FIELDS, 2) if both[0][0] != both[1][0]
]
PORT_FLOWS = [
    Flow(src=one, dst=other, protocol=number, sport=sport, dport=dport, icmp=(0, 80), fragment=fragment)
    for one, other in ((ADDRESSES[0], ADDRESSES[1]), (ADDRESSES[3], ADDRESSES[4]), (ADDRESSES[4], ADDRESSES[3]))
    for number in (6, 17, 132, 47)
    for sport, dport, fragment in ((22, 80, False), (80, 53, False), (78, 79, False), (81, 82, False), (80, 80, True))
]


@pytest.mark.parametrize("number", [None, 6, 17, 47])
@pytest.mark.parametrize("end", ["src", "dst"])
def test_any_two_conditions_on_ports_mean_what_the_specification_says(number: int | None, end: str) -> None:
    for side in PORT_SIDES:
        sides: dict[str, Any] = {end: side}
        state, reference = policed(ActiveRule(action="allow", protocol=number, **sides))
        for flow in PORT_FLOWS:
            assert passes(state, flow) == reference.forwards("eth0", "cali1", flow), (side, flow)


ICMP_RULES = [
    {"protocol": number, "not_protocol": other, name: (8, code)}
    for number in (None, 1, 58, 6)
    for other in (None, 1, 6)
    for name in ("icmp", "not_icmp")
    for code in (None, 0)
]
ICMP_FLOWS = [
    Flow(src=one, dst=other, protocol=number, icmp=icmp, sport=0x0800, dport=0)
    for one, other in ((ADDRESSES[0], ADDRESSES[1]), (ADDRESSES[3], ADDRESSES[4]))
    for number in (1, 58, 6)
    for icmp in ((8, 0), (8, 1), (3, 0))
]


@pytest.mark.parametrize("fields", ICMP_RULES)
def test_any_condition_on_icmp_means_what_the_specification_says(fields: dict[str, Any]) -> None:
    state, reference = policed(ActiveRule(action="allow", **fields))
    logging, _ = policed(ActiveRule(action="log", **fields))
    for flow in ICMP_FLOWS:
        wanted = reference.forwards("eth0", "cali1", flow)
        assert passes(state, flow) == wanted, flow
        packet = Packet(data=flow.data(), iifname="eth0", oifname="cali1")
        assert len(forward(logging, packet).logs) == wanted, flow


@pytest.mark.parametrize("fields", [fields for fields in ICMP_RULES if fields["protocol"]])
def test_a_rule_that_names_its_protocol_asks_for_it_once(fields: dict[str, Any]) -> None:
    state, _ = policed(ActiveRule(action="allow", **fields))
    for rule in state.chains["pi-np/ns/a"].rules:
        assert rule.exprs.count(Meta("l4proto")) == 1
