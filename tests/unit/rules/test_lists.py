"""Datamodel 15.2: tiers in order, what passes, what a tier does at its end, profiles, and lists shared by content."""

from __future__ import annotations

from typing import Any

import pytest

from calico.calc.messages import (
    ActiveRule,
    EndpointRemove,
    PolicyRemove,
    PolicyUpdate,
    ProfileRemove,
    ProfileUpdate,
    RuleSide,
    TierPolicies,
)
from calico.model.keys import ResourceKey
from calico.netlink.nftables.expr import MetaSet

A, B, C = (ResourceKey("NetworkPolicy", "ns", name) for name in "abc")


def rule(action: Any, port: int = 0) -> ActiveRule:
    if not port:
        return ActiveRule(action=action)
    return ActiveRule(action=action, protocol=6, dst=RuleSide(ports=((port, port),)))


def policy(key: ResourceKey, *rules: ActiveRule) -> PolicyUpdate:
    return PolicyUpdate(key=key, tier="t", ingress=rules, egress=())


def tier(name: str, *keys: ResourceKey, default: Any = "deny") -> TierPolicies:
    return TierPolicies(name=name, default_action=default, ingress=keys)


def open_ports(host: Any, *ports: int) -> set[int]:
    return {port for port in ports if host.forwards("eth0", "cali1", host.flow("9.9.9.9", "10.0.0.1", dport=port))}


def test_the_first_rule_that_decides_wins_across_policies(host: Any) -> None:
    host.say(policy(A, rule("deny", 1), rule("allow", 2)), policy(B, rule("allow", 1), rule("deny", 2)))
    host.workload(1, tier("t", A, B))
    assert open_ports(host, 1, 2, 3) == {2}
    host.workload(1, tier("t", B, A))
    assert open_ports(host, 1, 2, 3) == {1}


def test_a_tier_in_which_no_rule_decides_denies_by_default_even_with_no_rules_at_all(host: Any) -> None:
    host.say(policy(A))
    host.workload(1, tier("t", A))
    assert open_ports(host, 1) == set()


def test_a_tier_whose_default_is_pass_goes_on_with_the_next_tier_and_then_profiles(host: Any) -> None:
    host.say(policy(A, rule("deny", 1)), policy(B, rule("deny", 2)))
    host.workload(1, tier("t", A, default="pass"), tier("u", B, default="pass"))
    assert open_ports(host, 1, 2, 3) == {3}


def test_a_direction_without_policies_skips_the_tier_whatever_its_default(host: Any) -> None:
    host.say(policy(A, rule("allow", 1)))
    host.workload(1, tier("t", A))
    assert host.forwards("cali1", "eth0", host.between(1, 9, dport=5))
    assert open_ports(host, 1, 2) == {1}


def test_pass_leaves_the_tier_and_only_the_tier(host: Any) -> None:
    host.say(
        policy(A, rule("pass", 1), rule("pass", 2), rule("pass", 3)),
        policy(B, rule("deny")),
        policy(C, rule("allow", 1), rule("pass", 2)),
    )
    host.workload(1, tier("t", A, B), tier("u", C))
    assert open_ports(host, 1, 2, 3, 4) == {1, 2}


def test_pass_in_a_later_tier_is_not_confused_with_pass_in_an_earlier_one(host: Any) -> None:
    host.say(
        policy(A, rule("pass", 1), rule("pass", 2)),
        policy(B, rule("pass", 2)),
        policy(C, rule("deny", 1), rule("allow", 2)),
    )
    host.workload(1, tier("t", A), tier("u", B, C), profiles=())
    assert open_ports(host, 1, 2) == set()
    host.workload(1, tier("t", A), tier("u", B, C))
    assert open_ports(host, 1, 2) == {2}


def test_a_mark_that_a_packet_brings_along_passes_nothing_and_is_left_clear(host: Any) -> None:
    host.say(policy(A, rule("pass", 1)))
    host.workload(1, tier("t", A))
    packet = host.flow("9.9.9.9", "10.0.0.1", dport=1)
    outcome = host.forward("eth0", "cali1", packet, mark=0xFFFFFFFF)
    assert (outcome.verdict, outcome.mark) == ("accept", 0xFFFEFFFF)
    other = host.flow("9.9.9.9", "10.0.0.1", dport=2)
    assert host.forward("eth0", "cali1", other, mark=0xFFFFFFFF).verdict == "drop"


def test_no_mark_is_touched_where_no_policy_passes(host: Any) -> None:
    host.say(policy(A, rule("allow")))
    host.workload(1, tier("t", A))
    assert host.forward("eth0", "cali1", host.flow("9.9.9.9", "10.0.0.1"), mark=0xFFFFFFFF).mark == 0xFFFFFFFF


def test_a_policy_that_begins_or_stops_to_pass_changes_the_lists_that_use_it(host: Any) -> None:
    host.say(policy(A, rule("deny")))
    host.workload(1, tier("t", A))
    assert open_ports(host, 1) == set()
    host.say(policy(A, rule("pass")))
    assert open_ports(host, 1) == {1}
    host.say(policy(A, rule("allow", 2)))
    assert open_ports(host, 1, 2) == {2}


def test_profiles_are_asked_in_order_and_none_that_allows_means_drop(host: Any) -> None:
    host.say(
        ProfileUpdate(name="x", ingress=(rule("deny", 1), rule("allow", 2)), egress=()),
        ProfileUpdate(name="y", ingress=(rule("allow", 1), rule("allow", 3)), egress=()),
    )
    host.workload(1, profiles=("x", "y"))
    assert open_ports(host, 1, 2, 3, 4) == {2, 3}
    host.workload(1, profiles=())
    assert open_ports(host, 1, 2, 3, 4) == set()


def test_pass_in_a_profile_only_goes_on_with_the_next_profile(host: Any) -> None:
    host.say(
        ProfileUpdate(name="x", ingress=(rule("pass", 1), rule("allow")), egress=()),
        ProfileUpdate(name="y", ingress=(rule("deny"),), egress=()),
    )
    host.workload(1, profiles=("x", "y"))
    assert open_ports(host, 1, 2) == {2}
    host.workload(1, profiles=("x", "open"))
    assert host.forward("eth0", "cali1", host.flow("9.9.9.9", "10.0.0.1", dport=1)).mark == 0


@pytest.mark.parametrize("default", ["deny", "pass"])
def test_a_missing_profile_or_policy_denies_everything(host: Any, default: Any) -> None:
    host.workload(1, profiles=("missing", "open"))
    assert open_ports(host, 1) == set()
    host.workload(1, tier("t", A, default=default))
    assert open_ports(host, 1) == set()
    host.say(policy(A, rule("allow", 1)))
    assert open_ports(host, 1) == {1}
    host.say(PolicyRemove(key=A))
    assert open_ports(host, 1) == set()
    host.workload(1)
    host.say(ProfileRemove(name="open"))
    assert open_ports(host, 1) == set()


def test_endpoints_with_equal_lists_share_chains_and_the_last_one_takes_them_along(host: Any) -> None:
    static = set(host.state.chains)
    host.say(policy(A, rule("allow", 1)))
    assert set(host.state.chains) == static
    endpoints = [host.workload(number, tier("t", A)) for number in range(1, 6)]
    chains = set(host.state.chains) - static
    assert len(chains) == 5
    assert {name.split("-")[0] for name in chains} == {"gi", "go", "pi", "fi", "fo"}
    for endpoint in endpoints:
        host.say(EndpointRemove(id=endpoint))
    assert set(host.state.chains) == static


def test_an_endpoint_that_changes_only_its_addresses_touches_no_chain(host: Any) -> None:
    host.say(policy(A, rule("allow", 1)))
    host.workload(1, tier("t", A))
    host.state.take()
    host.workload(1, tier("t", A), nets=("10.0.0.1", "10.0.0.8"))
    changes = host.state.take()
    assert not changes.chains
    assert set(changes.elements) == {"wl-src4", "wl-src6"}


def test_a_message_that_says_nothing_new_changes_nothing(host: Any) -> None:
    for _ in range(2):
        host.say(policy(A, rule("allow", 1)))
        host.workload(1, tier("t", A))
        changes = host.state.take()
    assert not changes


def test_jumps_never_get_deeper_with_the_number_of_tiers(host: Any) -> None:
    keys = [ResourceKey("GlobalNetworkPolicy", "", f"p{number}") for number in range(40)]
    host.say(*(policy(key, rule("pass")) for key in keys))
    host.workload(1, *(tier(key.name, key) for key in keys))
    assert open_ports(host, 1) == {1}
    jumps = {
        name: {expr.chain for r in chain.rules for expr in r.exprs if getattr(expr, "chain", "")}
        for name, chain in host.state.chains.items()
    }

    def depth(name: str) -> int:
        return 1 + max(map(depth, jumps[name]), default=0)

    starts = [v.chain for v in host.state.elements("wl-to").values() if v]
    assert max(map(depth, starts)) == 2


def test_the_chain_of_a_list_that_nobody_uses_any_more_does_not_come_back(host: Any) -> None:
    host.say(policy(A, rule("deny")))
    gone = host.workload(1, tier("t", A))
    host.workload(2, tier("u", A))
    before = set(host.state.chains)
    host.say(EndpointRemove(id=gone))
    after = set(host.state.chains)
    assert len(before - after) == 1
    host.say(policy(A, rule("pass")))
    assert set(host.state.chains) == after


def test_the_mark_is_cleared_before_the_first_tier_that_may_pass_and_after_each_and_nowhere_else(host: Any) -> None:
    host.say(policy(A, rule("pass")), policy(B, rule("allow")), policy(C, rule("pass")))

    def clearings(*tiers: TierPolicies) -> list[str]:
        host.workload(1, *tiers)
        (verdict,) = host.state.elements("wl-to").values()
        rules = host.state.chains[verdict.chain].rules
        return [r.comment for r in rules if any(isinstance(expr, MetaSet) for expr in r.exprs)]

    nothing = "tier {}: nothing passed".format
    assert clearings(tier("t", B, default="pass"), tier("u", B)) == []
    assert clearings(tier("t", A), tier("u", B, default="pass"), tier("v", C)) == [
        nothing("t"),
        nothing("t"),
        nothing("v"),
    ]


@pytest.mark.parametrize("drop_invalid", [True, False])
def test_packets_that_connection_tracking_calls_invalid_meet_policy_only_when_they_are_not_dropped(
    make_host: Any, drop_invalid: bool
) -> None:
    host = make_host(drop_invalid=drop_invalid)
    host.workload(1)
    packet = host.flow("9.9.9.9", "10.0.0.1")
    assert host.forwards("eth0", "cali1", packet)
    assert host.forwards("eth0", "cali1", packet, ct_state="invalid") == (not drop_invalid)


def test_the_end_of_what_never_was_changes_nothing(host: Any) -> None:
    host.workload(1, tier("t", A))
    host.state.take()
    host.say(PolicyRemove(key=A), PolicyRemove(key=B), ProfileRemove(name="never"))
    assert not host.state.take()
