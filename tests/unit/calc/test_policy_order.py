"""In which order tiers and policies are tried, in which direction a policy counts, and how a tier may end."""

from __future__ import annotations

import pytest

from calico.calc.policy_order import PolicyPlace, order_policies, tier_action, tier_problems
from calico.model.keys import ResourceKey
from calico.model.policy import TierSpec


def key(name: str) -> ResourceKey:
    return ResourceKey("GlobalNetworkPolicy", "", name)


def place(tier: str = "default", order: float | None = None) -> PolicyPlace:
    return PolicyPlace(tier, order, ingress=True, egress=True)


def test_tiers_come_by_number_whatever_their_names_then_those_without_then_those_that_do_not_exist() -> None:
    tiers = {"z": TierSpec(order=-1.0), "y": TierSpec(order=0.0), "x": TierSpec(order=2.5), "b": TierSpec()}
    tiers |= {"c": TierSpec()}
    policies = [(key(name), place(tier=name)) for name in ("a", "b", "c", "x", "y", "z", "0")]
    assert [tier.name for tier in order_policies(policies, tiers)] == ["z", "y", "x", "b", "c", "0", "a"]


def test_policies_come_by_number_whatever_their_names_and_those_without_come_last() -> None:
    orders = {"z": -1.0, "y": 0.0, "x": 2.5, "b": None, "a": None}
    policies = [(key(name), place(order=orders[name])) for name in ("a", "x", "b", "z", "y")]
    (tier,) = order_policies(policies, {})
    assert [policy.name for policy in tier.ingress] == ["z", "y", "x", "a", "b"]


def test_a_policy_is_tried_in_its_own_directions_only() -> None:
    ways = {"in": (True, False), "out": (False, True), "both": (True, True)}
    policies = [(key(name), PolicyPlace("default", None, *way)) for name, way in ways.items()]
    (tier,) = order_policies(policies, {})
    assert [policy.name for policy in tier.ingress] == ["both", "in"]
    assert [policy.name for policy in tier.egress] == ["both", "out"]


@pytest.mark.parametrize(
    ("said", "action"),
    [(None, "deny"), ("", "deny"), ("Deny", "deny"), ("deny", "deny"), ("Pass", "pass"), ("pASS", "pass")],
)
def test_a_tier_ends_with_deny_unless_it_says_pass(said: str | None, action: str) -> None:
    tier = TierSpec(default_action=said)
    assert tier_action(tier) == action
    assert tier_problems(tier) == ()


def test_a_tier_that_would_end_otherwise_denies_and_says_what_is_wrong() -> None:
    tier = TierSpec(default_action="Allow")
    assert tier_action(tier) == "deny"
    assert tier_problems(tier) == ("spec.defaultAction: 'Allow' is neither Deny nor Pass",)


def test_a_tier_that_does_not_exist_denies_and_nothing_is_wrong_with_it() -> None:
    assert tier_action(None) == "deny"
    assert tier_problems(None) == ()
