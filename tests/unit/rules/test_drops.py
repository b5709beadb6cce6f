"""Every drop of the ruleset says why in a counter, and nothing else counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest

from calico.calc.messages import (
    IPIP_HOSTS,
    VXLAN_HOSTS,
    ActiveRule,
    IPSetRemove,
    IPSetUpdate,
    PolicyUpdate,
    ProfileUpdate,
    QoS,
    RuleSide,
    TierPolicies,
)
from calico.lib.packed import net
from calico.model.keys import ResourceKey
from calico.netlink.nftables.expr import CountIn, Reject, Rule, Verdict
from calico.rules.drops import REASONS, Reason, counter_name, reason_of
from calico.rules.evaluator.evaluate import from_host, to_host
from calico.rules.loads import IPIP
from calico.rules.packets import ICMP, ICMPV6, UDP

A = ResourceKey("NetworkPolicy", "ns", "a")


def policy(*rules: ActiveRule) -> PolicyUpdate:
    return PolicyUpdate(key=A, tier="t", ingress=rules, egress=())


def tier(default: Any = "deny") -> TierPolicies:
    return TierPolicies(name="t", default_action=default, ingress=(A,))


@pytest.fixture(params=["drop", "reject"])
def full(request: pytest.FixtureRequest, make_host: Any) -> Any:
    """A ruleset with every kind of drop in it."""
    host = make_host(deny=request.param)
    host.say(policy(ActiveRule(action="deny", src=RuleSide(nets=(net("10.0.0.0/8"),))), ActiveRule(action="allow")))
    host.say(ProfileUpdate(name="none", ingress=(ActiveRule(action="deny", why="missing"),), egress=()))
    host.say(IPSetUpdate(id=IPIP_HOSTS, kind="nets", members=frozenset((net("192.0.2.2/32"),))))
    host.workload(1, tier(), spoofed=("10.9.0.0/16", "fd09::/64"), profiles=("none", "open"))
    host.endpoint("h", "*", tiers=(tier("pass"),), profiles=("none",))
    host.endpoint("raw", "eth0", untracked_tiers=(tier(),), pre_dnat_tiers=(tier(),), forward_tiers=(tier(),))
    limits = QoS(egress_packet_rate=1, egress_packet_burst=1, egress_max_connections=1, egress_bandwidth=8000)
    host.ruleset._limits.show("cali1", limits)
    return host


def all_rules(host: Any) -> Iterator[Rule]:
    for chain in host.state.chains.values():
        yield from chain.rules


def drops(rule: Rule) -> bool:
    return any(isinstance(expr, Reject) or expr == Verdict("drop") for expr in rule.exprs)


def test_right_before_every_drop_and_nowhere_else_a_reason_is_counted(full: Any) -> None:
    seen = set()
    for rule in all_rules(full):
        counted = [expr for expr in rule.exprs if isinstance(expr, CountIn)]
        assert len(counted) == drops(rule), rule
        if counted:
            assert rule.exprs[-2] is counted[0], "a packet that the rule does not match must not be counted"
            seen.add(reason_of(counted[0].counter))
    untold = {"policy-damaged", "policy-missing", "policy-too-large", "refused-by-kernel"}
    assert seen == {reason.name for reason in REASONS} - untold


def test_no_element_of_a_map_drops_without_a_reason(full: Any) -> None:
    for name in full.state.sets:
        assert Verdict("drop") not in full.state.elements(name).values()


def test_every_reason_has_a_counter_from_the_beginning_and_words_for_people(host: Any) -> None:
    assert set(host.state.counters) == {counter_name(reason) for reason in get_args(Reason)}
    assert [reason.name for reason in REASONS] == list(get_args(Reason))
    assert all(reason.meaning and reason.remedy for reason in REASONS)


def reasons(outcome: Any) -> list[str | None]:
    assert outcome.verdict == "drop"
    return [reason_of(name) for name in outcome.counted]


def test_what_an_accepted_packet_meets_counts_nothing(full: Any) -> None:
    outcome = full.forward("eth1", "cali1", full.flow("9.9.9.9", "10.0.0.1"))
    assert (outcome.verdict, outcome.counted) == ("accept", ())


@pytest.mark.parametrize(
    ("source", "fields", "reason"),
    [
        ("10.0.0.7", {}, "spoofed-source"),
        ("10.0.0.1", {"protocol": ICMP, "icmp": (5, 0)}, "spoofed-router"),
        ("fd00::1", {"protocol": ICMPV6, "icmp": (134, 0)}, "spoofed-router"),
        ("10.0.0.1", {"protocol": IPIP}, "encapsulated"),
        ("10.0.0.1", {"protocol": UDP, "dport": 4789}, "encapsulated"),
        ("10.0.0.1", {"protocol": UDP, "sport": 67, "dport": 68}, "dhcp-server"),
    ],
)
def test_what_no_workload_may_send_is_counted_by_what_it_is(
    host: Any, source: str, fields: dict[str, Any], reason: str
) -> None:
    host.workload(1)
    target = "fd00::9" if ":" in source else "10.0.0.9"
    assert reasons(host.forward("cali1", "eth0", host.flow(source, target, **fields))) == [reason]


def test_what_policy_denies_is_counted_by_what_denied_it(host: Any, make_host: Any) -> None:
    packet = host.flow("9.9.9.9", "10.0.0.1", dport=80)

    def why(*messages: Any, **workload: Any) -> list[str | None]:
        host = make_host()
        host.say(*messages)
        host.workload(1, *workload.pop("tiers", (tier(),)), **workload)
        return reasons(host.forward("eth0", "cali1", packet))

    assert why(policy(ActiveRule(action="deny"))) == ["policy-deny"]
    assert why(policy(ActiveRule(action="deny", why="damaged"))) == ["policy-damaged"]
    assert why() == ["policy-missing"]
    assert why(policy()) == ["tier-default"]
    assert why(tiers=(), profiles=()) == ["no-profile-allows"]
    missing = ProfileUpdate(name="x", ingress=(ActiveRule(action="deny", why="missing"),), egress=())
    assert why(missing, tiers=(), profiles=("x",)) == ["profile-missing"]


def test_other_drops_are_counted_by_what_they_are(host: Any) -> None:
    host.workload(1)
    assert reasons(host.forward("eth0", "cali8", host.flow("9.9.9.9", "10.0.0.8"))) == ["unknown-interface"]
    packet = host.flow("9.9.9.9", "10.0.0.1")
    assert reasons(host.forward("eth0", "cali1", packet, ct_state="invalid")) == ["invalid-connection"]


@pytest.mark.parametrize(
    ("set_id", "fields"), [(VXLAN_HOSTS, {"protocol": UDP, "dport": 4789}), (IPIP_HOSTS, {"protocol": IPIP})]
)
def test_a_tunnel_is_taken_from_known_hosts_only_and_strangers_are_counted(
    host: Any, set_id: str, fields: dict[str, Any]
) -> None:
    def arrives(source: str) -> Any:
        return to_host(host.state, host.packet("eth0", "", host.flow(source, "192.0.2.1", **fields)))

    assert arrives("9.9.9.9").verdict == "accept", "without a tunnel it is a packet as any other"
    host.endpoint("h", "eth0")
    host.say(IPSetUpdate(id=set_id, kind="nets", members=frozenset((net("192.0.2.2/32"),))))
    assert reasons(arrives("9.9.9.9")) == ["tunnel-stranger"]
    known = arrives("192.0.2.2")
    assert (known.verdict, known.counted) == ("accept", ()), "though nothing opens the host endpoint"
    out = from_host(host.state, host.packet("", "eth0", host.flow("192.0.2.1", "192.0.2.2", **fields)))
    assert out.verdict == "accept"
    assert reasons(from_host(host.state, host.packet("", "eth0", host.flow("192.0.2.1", "9.9.9.9", **fields))))
    host.say(IPSetRemove(id=set_id))
    assert reasons(arrives("192.0.2.2")) == ["host-endpoint-default"]


def test_ipv4_in_ipv6_is_no_ip_in_ip_of_ours(host: Any) -> None:
    host.say(IPSetUpdate(id=IPIP_HOSTS, kind="nets", members=frozenset((net("192.0.2.2/32"),))))
    packet = host.packet("eth0", "", host.flow("2001:db8::9", "2001:db8::1", protocol=IPIP))
    assert to_host(host.state, packet).verdict == "accept"


def test_a_rule_that_is_too_large_says_so(host: Any) -> None:
    names = tuple(f"s{number}" for number in range(200))
    for name in names:
        host.say(IPSetUpdate(id=name, kind="nets", members=frozenset({net("10.0.0.0/16"), net("10.1.0.1/32")})))
    host.say(policy(ActiveRule(action="allow", src=RuleSide(not_ip_sets=names))))
    host.workload(1, tier())
    assert reasons(host.forward("eth0", "cali1", host.flow("9.9.9.9", "10.0.0.1"))) == ["policy-too-large"]
