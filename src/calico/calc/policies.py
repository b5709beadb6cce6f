"""A policy resource, checked: what it governs, where it stands, and (when wanted) its compiled rules."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from calico.calc.compile_entity import SetSpec
from calico.calc.compile_rules import DENY_ALL, CompiledRules, compile_rules
from calico.calc.messages import ActiveRule, PolicyUpdate, ProfileUpdate
from calico.calc.policy_order import DEFAULT_TIER, PolicyPlace
from calico.errors import InvalidInput
from calico.model.effective import policy_selector
from calico.model.keys import ResourceKey
from calico.model.policy import GlobalNetworkPolicy, GlobalNetworkPolicySpec, NetworkPolicy, Profile
from calico.model.selector import Selector, parse

__all__ = ["DEFAULT_ALLOW", "Compiled", "compile_policy", "compile_profile", "governed", "place_of"]

U = TypeVar("U", PolicyUpdate, ProfileUpdate)

DEFAULT_ALLOW = "projectcalico-default-allow"
"""The profile that allows both ways and is never stored."""

_ALLOW_ALL = (ActiveRule(action="allow"),)


class Compiled(msgspec.Struct, Generic[U], frozen=True):
    """A policy or profile as the host gets it, the sets it needs, and what is wrong with it."""

    update: U
    sets: tuple[SetSpec, ...] = ()
    problems: tuple[str, ...] = ()


def governed(key: ResourceKey, policy: NetworkPolicy | GlobalNetworkPolicy) -> Selector | None:
    """The workload endpoints a policy applies to; None for policies of host endpoints only (§15.4).

    InvalidInput with the field when a selector does not parse.
    """
    spec = policy.spec
    fields = [("spec.selector", spec.selector), ("spec.serviceAccountSelector", spec.service_account_selector)]
    if isinstance(spec, GlobalNetworkPolicySpec):
        if spec.do_not_track or spec.pre_dnat:
            return None
        fields.append(("spec.namespaceSelector", spec.namespace_selector))
    # Each must parse alone, or "a) || (b" would escape from the parentheses it is combined with.
    for field, text in fields:
        try:
            parse(text)
        except InvalidInput as error:
            raise InvalidInput(error.message, field=field) from None
        if "global(" in text:
            raise InvalidInput("global() may only be the namespaceSelector of a rule", field=field)
    if policy.metadata.namespace != key.namespace:
        policy = msgspec.structs.replace(
            policy, metadata=msgspec.structs.replace(policy.metadata, namespace=key.namespace)
        )
    try:
        return policy_selector(policy)
    except InvalidInput as error:
        raise InvalidInput(error.message, field="spec.selector") from None


def place_of(policy: NetworkPolicy | GlobalNetworkPolicy) -> PolicyPlace:
    """Tier, order and directions; types that are missing or unknown mean both directions."""
    spec = policy.spec
    both = not spec.types or bool(_unknown_types(policy))
    return PolicyPlace(
        tier=spec.tier or DEFAULT_TIER,
        order=spec.order,
        ingress=both or "Ingress" in spec.types,
        egress=both or "Egress" in spec.types,
    )


def compile_policy(key: ResourceKey, policy: NetworkPolicy | GlobalNetworkPolicy) -> Compiled[PolicyUpdate]:
    """The active form of a policy. A direction that its types leave out has no rules."""
    place = place_of(policy)
    if unknown := _unknown_types(policy):
        update = PolicyUpdate(key=key, tier=place.tier, ingress=DENY_ALL, egress=DENY_ALL)
        return Compiled(update, problems=unknown)
    spec = policy.spec
    ingress = compile_rules(spec.ingress, key.namespace, "ingress") if place.ingress else CompiledRules()
    egress = compile_rules(spec.egress, key.namespace, "egress") if place.egress else CompiledRules()
    update = PolicyUpdate(key=key, tier=place.tier, ingress=ingress.rules, egress=egress.rules)
    return Compiled(update, _union(ingress, egress), ingress.problems + egress.problems)


def compile_profile(name: str, profile: Profile | None) -> Compiled[ProfileUpdate]:
    """The active form of a profile; one that does not exist denies everything (datamodel 15.2)."""
    if name == DEFAULT_ALLOW:
        return Compiled(ProfileUpdate(name=name, ingress=_ALLOW_ALL, egress=_ALLOW_ALL))
    if profile is None:
        return Compiled(ProfileUpdate(name=name, ingress=DENY_ALL, egress=DENY_ALL))
    ingress = compile_rules(profile.spec.ingress, "", "ingress")
    egress = compile_rules(profile.spec.egress, "", "egress")
    update = ProfileUpdate(name=name, ingress=ingress.rules, egress=egress.rules)
    return Compiled(update, _union(ingress, egress), ingress.problems + egress.problems)


def _union(ingress: CompiledRules, egress: CompiledRules) -> tuple[SetSpec, ...]:
    return tuple({spec.id: spec for spec in (*ingress.sets, *egress.sets)}.values())


def _unknown_types(policy: NetworkPolicy | GlobalNetworkPolicy) -> tuple[str, ...]:
    return tuple(
        f"spec.types[{position}]: {name!r} is neither Ingress nor Egress"
        for position, name in enumerate(policy.spec.types)
        if name not in ("Ingress", "Egress")
    )
