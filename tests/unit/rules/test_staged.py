"""Staged policies in the ruleset: at their place, counting, deciding nothing (datamodel 15.1)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from calico.calc.messages import (
    ActiveRule,
    HostEndpointUpdate,
    IPSetUpdate,
    PolicyRemove,
    PolicyUpdate,
    RuleSide,
    TierPolicies,
)
from calico.lib.packed import net
from calico.model.keys import ResourceKey
from calico.netlink.nftables.expr import Counter, Log
from calico.rules.names import policy_name

A, B = (ResourceKey("NetworkPolicy", "ns", name) for name in "ab")
S = ResourceKey("StagedNetworkPolicy", "ns", "a")
CHAIN = policy_name("ingress", S)


def rule(action: Any, port: int = 0) -> ActiveRule:
    side = RuleSide(ports=((port, port),)) if port else RuleSide()
    return ActiveRule(action=action, protocol=6 if port else None, dst=side)


def enforced(key: ResourceKey, *rules: ActiveRule) -> PolicyUpdate:
    return PolicyUpdate(key=key, tier="t", ingress=rules, egress=())


def staged(*rules: ActiveRule, **more: Any) -> PolicyUpdate:
    return PolicyUpdate(key=S, tier="t", kind="staged", ingress=rules, egress=(), **more)


def tier(name: str, *keys: ResourceKey, default: Any = "deny") -> TierPolicies:
    return TierPolicies(name=name, default_action=default, ingress=keys)


def flow(host: Any, port: int) -> Any:
    return host.flow("9.9.9.9", "10.0.0.1", dport=port)


def open_ports(host: Any, *ports: int) -> set[int]:
    return {port for port in ports if host.forwards("eth0", "cali1", flow(host, port))}


def counted(host: Any, port: int) -> list[str]:
    """What the staged chain counts for a packet."""
    trace = host.forward("eth0", "cali1", flow(host, port)).trace
    return [comment for chain, comment in trace if chain == CHAIN]


@pytest.mark.parametrize("action", ["allow", "deny", "pass"])
def test_a_staged_policy_changes_no_verdict(host: Any, action: Any) -> None:
    host.say(enforced(A, rule("allow", 1), rule("pass", 3)), enforced(B, rule("allow", 2)))
    host.workload(1, tier("t", A, B))
    before = open_ports(host, 1, 2, 3, 4)
    host.say(staged(rule(action)))
    for keys in ((S, A, B), (A, S, B), (A, B, S)):
        host.workload(1, tier("t", *keys))
        assert open_ports(host, 1, 2, 3, 4) == before == {1, 2, 3}


def test_what_a_staged_policy_would_do_is_counted_by_rule_and_what_it_would_not_decide_too(host: Any) -> None:
    host.say(staged(rule("deny", 1), rule("pass", 2), rule("allow", 3)))
    host.workload(1, tier("t", S))
    title = "StagedNetworkPolicy ns/a ingress"
    assert counted(host, 1) == [f"{title} rule 0 would deny"]
    assert counted(host, 2) == [f"{title} rule 1 would pass"]
    assert counted(host, 3) == [f"{title} rule 2 would allow"]
    assert counted(host, 4) == [f"{title} would not decide"]
    (found,) = (chain for chain in host.ruleset.staged_chains() if chain.direction == "ingress")
    assert (found.key, found.chain, found.counts) == (S, CHAIN, ("deny", "pass", "allow", "undecided"))
    rules = host.state.chains[CHAIN].rules
    assert len(rules) == len(found.counts)
    assert all(Counter() in each.exprs for each in rules)


def test_a_staged_policy_sees_what_the_policies_before_it_left_undecided(host: Any) -> None:
    host.say(enforced(A, rule("allow", 1)), enforced(B, rule("allow", 2)), staged(rule("deny")))
    host.workload(1, tier("t", A, S, B))
    assert counted(host, 1) == []
    assert len(counted(host, 2)) == 1


def test_a_pass_of_a_staged_policy_touches_no_mark(host: Any) -> None:
    host.say(staged(rule("pass")), enforced(A, rule("deny")))
    host.workload(1, tier("t", S, A))
    host.say(enforced(B, rule("pass")))
    outcome = host.forward("eth0", "cali1", flow(host, 1), mark=0xFFFFFFFF)
    assert (outcome.verdict, outcome.mark) == ("drop", 0xFFFFFFFF)


def test_a_tier_with_staged_policies_only_has_no_action_at_its_end(host: Any) -> None:
    host.say(staged(), enforced(A))
    host.workload(1, tier("t", S))
    assert open_ports(host, 1) == {1}
    host.workload(1, tier("t", S, A))
    assert open_ports(host, 1) == set()


def test_a_policy_that_becomes_staged_or_enforced_changes_the_lists_that_use_it(host: Any) -> None:
    host.say(enforced(A, rule("deny")))
    host.workload(1, tier("t", A))
    assert open_ports(host, 1) == set()
    host.say(msgspec.structs.replace(enforced(A, rule("deny")), kind="staged"))
    assert open_ports(host, 1) == {1}
    host.say(enforced(A, rule("deny")))
    assert open_ports(host, 1) == set()
    assert list(host.ruleset.staged_chains()) == []


def test_log_rules_of_a_staged_policy_log_nothing(host: Any) -> None:
    host.say(staged(rule("log"), rule("allow", 1)))
    host.workload(1, tier("t", S))
    assert host.forward("eth0", "cali1", flow(host, 1)).logs == ()
    assert not any(isinstance(expr, Log) for each in host.state.chains[CHAIN].rules for expr in each.exprs)


def test_a_log_rule_of_a_staged_policy_decides_and_counts_nothing(host: Any) -> None:
    host.say(staged(rule("log"), msgspec.structs.replace(rule("deny"), comment="why")))
    host.workload(1, tier("t", S))
    assert counted(host, 1) == ["StagedNetworkPolicy ns/a ingress rule 1 would deny: why"]
    (chain,) = [each for each in host.ruleset.staged_chains() if each.direction == "ingress"]
    assert chain.counts == ("deny", "undecided")


def test_a_staged_rule_too_large_for_the_kernel_counts_as_a_denial_and_denies_nothing(host: Any) -> None:
    sets = tuple(f"n{number}" for number in range(60))
    for name in sets:
        host.say(IPSetUpdate(id=name, kind="nets", members=frozenset({net("9.0.0.0/8"), net("9.9.9.9/32")})))
    host.say(staged(ActiveRule(action="allow", src=RuleSide(ip_sets=sets)), rule("allow")))
    host.workload(1, tier("t", S))
    assert open_ports(host, 1) == {1}
    assert counted(host, 1) == ["StagedNetworkPolicy ns/a ingress rule 0 is too large: would deny"]
    (found,) = (chain for chain in host.ruleset.staged_chains() if chain.direction == "ingress")
    assert found.counts == ("deny",)


def test_the_chain_of_a_staged_policy_goes_with_its_last_user(host: Any) -> None:
    host.say(staged(rule("allow")))
    assert CHAIN not in host.state.chains
    host.workload(1, tier("t", S))
    assert CHAIN in host.state.chains
    host.workload(1)
    host.say(PolicyRemove(key=S))
    assert CHAIN not in host.state.chains
    assert list(host.ruleset.staged_chains()) == []


# Host endpoints


def host_endpoint(**lists: Any) -> HostEndpointUpdate:
    return HostEndpointUpdate(name="h", key=ResourceKey("HostEndpoint", "", "h"), interface="eth0", **lists)


@pytest.mark.parametrize("place", ["forward_tiers", "untracked_tiers", "pre_dnat_tiers"])
def test_a_staged_policy_of_a_host_endpoint_counts_and_forwards_what_was_forwarded(host: Any, place: str) -> None:
    host.workload(1)
    host.say(staged(rule("deny")), host_endpoint(**{place: (tier("t", S),)}))
    host.ruleset.on_host_interface("eth0", frozenset())
    outcome = host.forward("eth0", "cali1", flow(host, 1))
    assert outcome.verdict == "accept"
    assert [comment for _, comment in outcome.trace if "would deny" in comment]
    chains = [chain for chain in host.ruleset.staged_chains() if chain.direction == "ingress"]
    assert [chain.counts for chain in chains] == [("deny", "undecided")]


def test_a_host_endpoint_with_staged_policies_only_is_as_closed_as_one_without_policy(host: Any) -> None:
    host.say(staged(rule("allow")), host_endpoint(tiers=(tier("t", S),)))
    host.ruleset.on_host_interface("eth0", frozenset())
    assert not host.reached_from("eth0", flow(host, 1))
    assert host.reached_from("eth0", flow(host, 22))
    host.say(staged(rule("deny")), host_endpoint(tiers=(tier("t", S),), profiles=("open",)))
    assert host.reached_from("eth0", flow(host, 1))


@pytest.mark.parametrize(("kind", "prefix"), [("normal", ""), ("untracked", "u"), ("pre-dnat", "p")])
def test_a_preloaded_policy_is_ready_in_the_form_that_host_endpoints_will_use(
    host: Any, kind: Any, prefix: str
) -> None:
    ready = msgspec.structs.replace(enforced(A, rule("allow", 1)), kind=kind, preload=True)
    host.say(ready)
    name = prefix + policy_name("ingress", A)
    assert [chain for chain in host.state.chains if chain.endswith(policy_name("ingress", A))] == [name]
    host.say(PolicyRemove(key=A))
    assert name not in host.state.chains


# Policies that are needed on every node (datamodel 15.1)


def test_a_preloaded_policy_is_in_the_table_before_anybody_uses_it(host: Any) -> None:
    name = policy_name("ingress", A)
    ready = msgspec.structs.replace(enforced(A, rule("allow", 1)), preload=True)
    host.say(ready)
    assert host.state.chains[name].rules
    host.workload(1, tier("t", A))
    assert open_ports(host, 1, 2) == {1}
    host.workload(1)
    assert name in host.state.chains
    host.say(enforced(A, rule("allow", 1)))
    assert name not in host.state.chains


def test_a_preloaded_policy_goes_when_it_is_removed(host: Any) -> None:
    host.say(staged(rule("allow", 1), preload=True), PolicyRemove(key=S))
    assert CHAIN not in host.state.chains
