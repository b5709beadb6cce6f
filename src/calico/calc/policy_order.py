"""In which order tiers and policies are tried (datamodel §15.1), and the tier list of an endpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec
from msgspec.structs import replace

from calico.calc.messages import TierPolicies
from calico.calc.stages import NORMAL, Stage
from calico.model.keys import ResourceKey
from calico.model.policy import TierSpec

__all__ = [
    "DEFAULT_TIER",
    "PolicyPlace",
    "order_policies",
    "policy_rank",
    "tier_action",
    "tier_problems",
    "tier_rank",
    "without_egress",
]

DEFAULT_TIER = "default"


class PolicyPlace(msgspec.Struct, frozen=True):
    """Where a policy stands, in which directions it counts, and at which stages of a packet's way."""

    tier: str
    order: float | None
    ingress: bool
    egress: bool
    stages: frozenset[Stage] = NORMAL


def policy_rank(key: ResourceKey, order: float | None) -> tuple[bool, float, str]:
    """Sorts policies within a tier: numbers first, ties by ``name/namespace/kind``."""
    return order is None, order or 0.0, f"{key.name}/{key.namespace}/{key.kind}"


def tier_rank(name: str, tier: TierSpec | None) -> tuple[bool, bool, float, str]:
    """Sorts tiers: numbers, then tiers without an order, then tiers that policies name but that do not exist."""
    order = tier.order if tier is not None else None
    return tier is None, order is None, order or 0.0, name


def tier_action(tier: TierSpec | None) -> Literal["deny", "pass"]:
    """What happens at the end of a tier: pass only where it says so in so many words."""
    return "pass" if tier is not None and (tier.default_action or "").lower() == "pass" else "deny"


def order_policies(
    policies: Iterable[tuple[ResourceKey, PolicyPlace]], tiers: Mapping[str, TierSpec]
) -> tuple[TierPolicies, ...]:
    """The tiers with the given policies of one endpoint, all in the order they are tried."""
    by_tier: dict[str, list[tuple[ResourceKey, PolicyPlace]]] = {}
    for key, place in sorted(policies, key=lambda policy: policy_rank(policy[0], policy[1].order)):
        by_tier.setdefault(place.tier, []).append((key, place))
    return tuple(
        TierPolicies(
            name=name,
            default_action=tier_action(tiers.get(name)),
            ingress=tuple(key for key, place in by_tier[name] if place.ingress),
            egress=tuple(key for key, place in by_tier[name] if place.egress),
        )
        for name in sorted(by_tier, key=lambda name: tier_rank(name, tiers.get(name)))
    )


def without_egress(tiers: tuple[TierPolicies, ...]) -> tuple[TierPolicies, ...]:
    """The tiers as they count where there is no egress."""
    return tuple(replace(tier, egress=()) for tier in tiers)


def tier_problems(tier: TierSpec | None) -> tuple[str, ...]:
    """What is wrong with a tier: an end that is neither Deny nor Pass; it then denies."""
    if tier is None or (tier.default_action or "Deny").lower() in ("deny", "pass"):
        return ()
    return (f"spec.defaultAction: {tier.default_action!r} is neither Deny nor Pass",)
