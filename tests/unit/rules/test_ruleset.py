"""The ruleset as a whole: what it forgets, what it tells, and that only the last message about a thing counts."""

from __future__ import annotations

from typing import Any

import pytest

from calico.calc.messages import (
    ActiveRule,
    EndpointRemove,
    HostEndpointRemove,
    IPSetRemove,
    IPSetUpdate,
    PolicyRemove,
    PolicyUpdate,
    ProfileRemove,
    ProfileUpdate,
    RuleSide,
    TierPolicies,
)
from calico.lib.packed import addr_bytes, addr_port, net
from calico.model.keys import ResourceKey
from retained import retained

A, B = (ResourceKey("NetworkPolicy", "ns", name) for name in "ab")
S = ResourceKey("StagedNetworkPolicy", "ns", "s")
FROM_SETS = RuleSide(ip_sets=("n",), not_ports=((1, 9), (80, 80)), named_ports=("p",))
MANY_NETS = RuleSide(nets=tuple(net(f"10.{n}.0.0/16") for n in range(9)))
LARGE = RuleSide(ip_sets=tuple(f"n{n}" for n in range(6)))
SETS = {
    **{f"n{n}": ("nets", frozenset({net("10.0.0.0/24"), net("10.0.0.1")})) for n in range(6)},
    "n": ("nets", frozenset({net("10.8.0.0/24"), net("10.8.0.0/16"), net("fd00::7")})),
    "p": ("ports", frozenset({addr_port(addr_bytes("10.0.0.3"), 6, 80)})),
}


def policy(key: ResourceKey, *rules: ActiveRule, **more: Any) -> PolicyUpdate:
    return PolicyUpdate(key=key, tier="t", ingress=rules, egress=rules, **more)


def tier(name: str, *keys: ResourceKey) -> TierPolicies:
    return TierPolicies(name=name, default_action="deny", ingress=keys, egress=keys)


def fill(host: Any) -> None:
    for name, (kind, members) in SETS.items():
        host.say(IPSetUpdate(id=name, kind=kind, members=members))
    host.say(policy(A, ActiveRule(action="pass", src=FROM_SETS), ActiveRule(action="allow", dst=MANY_NETS)))
    host.say(policy(B, ActiveRule(action="allow", src=LARGE, dst=LARGE), preload=True))
    host.say(policy(S, ActiveRule(action="deny", src=FROM_SETS), kind="staged", preload=True))
    host.say(ProfileUpdate(name="own", ingress=(ActiveRule(action="allow", dst=MANY_NETS),), egress=()))
    host.link("eth0", "192.0.2.1")
    tiers = (tier("t", A, S), tier("u", B))
    host.workload(1, *tiers, profiles=("own", "missing"), nats=(("10.0.0.1", "192.0.2.9"),))
    host.workload(2, *tiers, spoofed=("10.66.0.0/16",))
    for stage in ("tiers", "forward_tiers", "untracked_tiers", "pre_dnat_tiers"):
        host.endpoint(stage, "eth0", **{stage: tiers}, profiles=("own",))
    host.ruleset.take_affected()


def empty(host: Any) -> None:
    for number in (1, 2):
        host.say(EndpointRemove(id=host.workload(number)))
    for stage in ("tiers", "forward_tiers", "untracked_tiers", "pre_dnat_tiers"):
        host.say(HostEndpointRemove(name=stage))
    host.say(*(PolicyRemove(key=key) for key in (A, B, S)), ProfileRemove(name="own"))
    host.say(*(IPSetRemove(id=name) for name in SETS))
    host.ruleset.on_host_interface("eth0", None)
    host.ruleset.take_affected()
    host.state.take()


def test_nothing_is_remembered_of_what_is_gone(make_host: Any) -> None:
    used, unused = make_host(), make_host()
    fill(used)
    for host in (used, unused):
        empty(host)
    assert retained(used.ruleset) == retained(unused.ruleset)
    assert (used.state.chains, used.state.sets.keys()) == (unused.state.chains, unused.state.sets.keys())


def test_nothing_is_remembered_of_one_user_when_another_stays(make_host: Any) -> None:
    more, less = make_host(), make_host()
    for host in (more, less):
        fill(host)
    more.say(EndpointRemove(id=more.workload(3, tier("third", A), profiles=("third",))))
    for host in (more, less):
        host.ruleset.take_affected()
        host.state.take()
    assert retained(more.ruleset) == retained(less.ruleset)
    assert more.state.chains == less.state.chains


@pytest.mark.parametrize("kind", ["policy", "staged"])
def test_a_policy_that_is_gone_leaves_its_lists_as_if_it_had_never_been(make_host: Any, kind: Any) -> None:
    before, never = make_host(), make_host()
    before.say(policy(A, ActiveRule(action="pass"), kind=kind))
    for host in (before, never):
        host.workload(1, tier("t", A))
    assert before.state.chains != never.state.chains
    before.say(PolicyRemove(key=A))
    assert before.state.chains == never.state.chains


def test_an_undefined_profile_denies_in_every_list_that_has_it(host: Any) -> None:
    host.workload(1, profiles=("own",))
    assert not host.forwards("eth0", "cali1", host.between(9, 1))
    host.say(ProfileUpdate(name="own", ingress=(ActiveRule(action="allow"),), egress=()))
    assert host.forwards("eth0", "cali1", host.between(9, 1))
    host.say(ProfileRemove(name="own"))
    assert not host.forwards("eth0", "cali1", host.between(9, 1))


@pytest.mark.parametrize(
    ("kind", "stage"), [("normal", "tiers"), ("untracked", "untracked_tiers"), ("pre-dnat", "pre_dnat_tiers")]
)
def test_a_preloaded_policy_does_the_same_before_and_after_it_is_used(host: Any, kind: Any, stage: str) -> None:
    rules = (ActiveRule(action="allow", protocol=6), ActiveRule(action="deny", protocol=17), ActiveRule(action="pass"))
    known = set(host.state.chains)
    host.say(PolicyUpdate(key=A, tier="t", kind=kind, preload=True, ingress=rules, egress=()))
    (name,) = (name for name in host.state.chains.keys() - known if host.state.chains[name].rules)
    ready = host.state.chains[name]
    host.link("eth0", "192.0.2.1")
    host.endpoint(**{stage: (TierPolicies(name="t", default_action="pass", ingress=(A,)),)})
    host.say(PolicyUpdate(key=A, tier="t", kind=kind, ingress=rules, egress=()))
    assert host.state.chains[name] == ready


def test_staged_chains_are_told_in_order_of_their_policies(host: Any) -> None:
    keys = [ResourceKey("StagedNetworkPolicy", "ns", f"s{n:02}") for n in range(20)]
    host.say(*(policy(key, ActiveRule(action="deny"), kind="staged", preload=True) for key in reversed(keys)))
    told = list(host.ruleset.staged_chains())
    assert [(each.key, each.direction) for each in told] == [(k, d) for k in keys for d in ("ingress", "egress")]
    assert {each.counts for each in told} == {("deny", "undecided")}


def test_a_policy_that_is_no_longer_staged_counts_nothing(host: Any) -> None:
    host.workload(1, tier("t", S))
    host.say(policy(S, ActiveRule(action="deny"), kind="staged"))
    assert [each.key for each in host.ruleset.staged_chains()] == [S, S]
    host.say(policy(S, ActiveRule(action="deny")))
    assert list(host.ruleset.staged_chains()) == []
    host.say(policy(S, ActiveRule(action="deny"), kind="staged"), PolicyRemove(key=S))
    assert list(host.ruleset.staged_chains()) == []


def test_a_staged_policy_that_nobody_uses_counts_nothing(host: Any) -> None:
    host.say(policy(S, ActiveRule(action="deny"), kind="staged"))
    assert list(host.ruleset.staged_chains()) == []


def test_an_address_more_of_an_endpoint_concerns_its_flows_and_one_less_does_not(host: Any) -> None:
    host.workload(1)
    host.ruleset.take_affected()
    host.workload(1, nets=("10.0.0.1", "10.0.0.7"))
    assert host.ruleset.take_affected().touches([addr_bytes("10.0.0.7")])
    for fields in ({}, {"nats": (("10.0.0.1", "192.0.2.9"),)}):
        host.workload(1, nets=("10.0.0.1",), **fields)
        affected = host.ruleset.take_affected()
        assert (bool(affected), affected.changed) == (False, False)


def test_another_list_in_one_direction_concerns_the_flows_in_that_direction(host: Any) -> None:
    host.say(policy(A, ActiveRule(action="allow")))
    host.workload(1)
    host.ruleset.take_affected()
    host.workload(1, TierPolicies(name="t", default_action="deny", ingress=(A,)))
    affected = host.ruleset.take_affected()
    one, other = addr_bytes("10.0.0.1"), addr_bytes("10.0.0.9")
    assert (affected.concerns(other, one), affected.concerns(one, other)) == (True, False)


def test_a_list_concerns_only_the_endpoints_that_have_it_now(host: Any) -> None:
    host.say(policy(A, ActiveRule(action="allow")))
    for number in (1, 2):
        host.workload(number, tier("t", A))
    host.workload(1)
    host.ruleset.take_affected()
    host.say(policy(A, ActiveRule(action="deny")))
    affected = host.ruleset.take_affected()
    assert affected.touches([addr_bytes("10.0.0.2")])
    assert not affected.touches([addr_bytes("10.0.0.1")])
