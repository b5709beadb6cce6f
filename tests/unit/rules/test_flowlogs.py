"""Flow logs tell each decision of policy and nothing else; without them the ruleset has not one expression more."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.calc.messages import ActiveRule, PolicyUpdate, ProfileUpdate, RuleSide, TierPolicies
from calico.model.keys import ResourceKey
from calico.netlink.nftables.expr import Log
from calico.rules.config import RulesConfig
from calico.rules.drops import REASONS
from calico.rules.flowlogs import Decision, allowed, decision_of, denied
from calico.rules.names import policy_name

A, B = ResourceKey("NetworkPolicy", "ns", "a"), ResourceKey("GlobalNetworkPolicy", "", "b" * 250)
ON = RulesConfig(flow_log_group=80)
OFF = RulesConfig()
POLICY_REASONS = [r.name for r in REASONS if r.name.startswith(("policy-", "tier", "no-pro", "profile", "host-end"))]


def port(action: Any, number: int) -> ActiveRule:
    return ActiveRule(action=action, protocol=6, dst=RuleSide(ports=((number, number),)))


def fill(host: Any) -> Any:
    """Policies of every kind, on workloads and host endpoints."""
    rules = (port("log", 1), port("pass", 2), port("allow", 3), port("deny", 4))
    host.say(PolicyUpdate(key=A, tier="t", ingress=rules, egress=rules))
    host.say(PolicyUpdate(key=B, tier="t", ingress=rules, egress=(port("deny", 5),)))
    host.say(ProfileUpdate(name="p", ingress=(port("allow", 6), port("pass", 7)), egress=()))
    tiers = (
        TierPolicies(name="t", default_action="deny", ingress=(A, B), egress=(A,)),
        TierPolicies(name="u", default_action="pass", ingress=(ResourceKey("NetworkPolicy", "ns", "missing"),)),
    )
    host.workload(1, *tiers, profiles=("p", "open"))
    host.endpoint("h", "eth0", tiers=tiers, untracked_tiers=tiers, pre_dnat_tiers=tiers, forward_tiers=tiers)
    return host


def logs(exprs: Any) -> list[Log]:
    return [expr for expr in exprs if isinstance(expr, Log) and expr.group is not None]


def test_flow_logs_add_nothing_but_log_expressions_and_without_them_there_is_none(make_host: Any) -> None:
    off, on = fill(make_host()), fill(make_host(flow_log_group=80))
    assert set(off.state.chains) == set(on.state.chains)
    added = 0
    for name, chain in off.state.chains.items():
        assert not [rule for rule in chain.rules if logs(rule.exprs)]
        stripped = tuple(
            msgspec.structs.replace(rule, exprs=tuple(e for e in rule.exprs if e not in logs(rule.exprs)))
            for rule in on.state.chains[name].rules
        )
        assert stripped == chain.rules
        added += sum(len(logs(rule.exprs)) for rule in on.state.chains[name].rules)
    assert added > 10
    assert {name: dict(off.state.elements(name)) for name in off.state.sets} == {
        name: dict(on.state.elements(name)) for name in on.state.sets
    }


def told(host: Any, dport: int, **more: Any) -> list[Decision | None]:
    outcome = host.forward("eth1", "cali1", host.flow("9.9.9.9", "10.0.0.1", dport=dport), **more)
    return [decision_of(prefix) for prefix in outcome.logs if prefix.startswith(("A ", "D ", "T ", "N ", "M "))]


def test_what_decides_is_told_and_what_only_logs_or_passes_is_not(make_host: Any) -> None:
    host = fill(make_host(flow_log_group=80))
    chain = policy_name("ingress", A)
    assert told(host, 3) == [Decision("ingress", "", chain, 2)]
    assert told(host, 4) == [Decision("ingress", "policy-deny", chain, 3)]
    assert told(host, 9) == [Decision("ingress", "tier-default", tier="t")]
    assert host.ruleset.decided_by(chain) == (A, "t")
    missing = policy_name("ingress", ResourceKey("NetworkPolicy", "ns", "missing"))
    assert told(host, 2) == [Decision("ingress", "policy-missing", missing, 0)]
    assert host.ruleset.decided_by(missing) is None


def test_a_packet_of_a_known_connection_is_never_logged(make_host: Any) -> None:
    assert told(fill(make_host(flow_log_group=80)), 3, ct_state="established") == []


def test_the_longest_names_fit_into_what_the_kernel_keeps(make_host: Any) -> None:
    chain = policy_name("egress", ResourceKey("StagedKubernetesNetworkPolicy", "n" * 63, "p" * 253))
    plain = policy_name("egress", ResourceKey("NetworkPolicy", "n" * 49, "p" * 47))
    for name in (chain, plain):
        for exprs in (
            allowed(ON, "plain", "egress", name, 99999),
            denied(ON, "plain", "egress", "policy-too-large", chain=name, rule=99999),
            denied(ON, "translated", "egress", "host-endpoint-default", tier="t" * 300),
        ):
            ((log,),) = (exprs,)
            assert isinstance(log, Log)
            assert len(log.prefix.encode()) <= 127


@pytest.mark.parametrize("reason", POLICY_REASONS)
def test_a_denial_reads_back_as_it_was_told(reason: Any) -> None:
    (log,) = denied(ON, "plain", "ingress", reason, chain="pi-np/ns/a", rule=7)
    assert isinstance(log, Log)
    assert decision_of(log.prefix) == Decision("ingress", reason, "pi-np/ns/a", 7)
    (log,) = denied(ON, "plain", "egress", reason, tier="my tier")
    assert isinstance(log, Log)
    assert decision_of(log.prefix) == Decision("egress", reason, tier="my tier")


def test_before_connection_tracking_and_dnat_nothing_is_logged() -> None:
    assert allowed(ON, "untracked", "ingress", "pi-x", 0) == allowed(ON, "pre-dnat", "ingress", "pi-x", 0) == ()
    assert allowed(OFF, "plain", "ingress", "pi-x", 0) == ()


@given(st.text(max_size=40))
def test_prefixes_of_others_are_no_decisions_and_no_errors(text: str) -> None:
    found = decision_of(text)
    assert found is None or text[:1] in "ADXMLPTNH"
