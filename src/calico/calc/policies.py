"""A policy resource, checked: what it governs, where it stands, and (when wanted) its compiled rules."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from calico.calc.compile_entity import SetSpec
from calico.calc.compile_rules import DENY_ALL, CompiledRules, compile_rules
from calico.calc.messages import ActiveRule, PolicyUpdate, ProfileUpdate
from calico.calc.policy_order import DEFAULT_TIER, PolicyPlace
from calico.calc.staged import AnyPolicy
from calico.calc.stages import contradictions, kind_of, only_hosts, stages_of
from calico.errors import InvalidInput
from calico.model.effective import policy_selector
from calico.model.keys import ResourceKey
from calico.model.policy import GlobalNetworkPolicySpec, Profile
from calico.model.selector import Selector, parse
from calico.model.staged import STAGED_KINDS

__all__ = ["DEFAULT_ALLOW", "Compiled", "compile_policy", "compile_profile", "governed", "is_preloaded", "place_of"]

U = TypeVar("U", PolicyUpdate, ProfileUpdate)

DEFAULT_ALLOW = "projectcalico-default-allow"
"""The profile that allows both ways and is never stored."""

_DENY_MISSING = (ActiveRule(action="deny", why="missing"),)
_ALLOW_ALL = (ActiveRule(action="allow"),)


class Compiled(msgspec.Struct, Generic[U], frozen=True):
    """A policy or profile as the host gets it, the sets it needs, and what is wrong with it."""

    update: U
    sets: tuple[SetSpec, ...] = ()
    problems: tuple[str, ...] = ()


def governed(key: ResourceKey, policy: AnyPolicy) -> Selector:
    """The endpoints a policy applies to; host endpoints only if it is untracked or pre-DNAT (§15.4).

    InvalidInput with the field when a selector does not parse.
    """
    spec = policy.spec
    fields = [("spec.selector", spec.selector), ("spec.serviceAccountSelector", spec.service_account_selector)]
    if isinstance(spec, GlobalNetworkPolicySpec):
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
        selector = policy_selector(policy)
    except InvalidInput as error:
        raise InvalidInput(error.message, field="spec.selector") from None
    return selector if "normal" in stages_of(policy) else only_hosts(selector)


def place_of(policy: AnyPolicy) -> PolicyPlace:
    """Tier, order, directions and stages; types that are missing or unknown mean both directions.

    A pre-DNAT policy is for ingress whatever its types say.
    """
    spec = policy.spec
    both = not spec.types or bool(_unknown_types(policy))
    stages = stages_of(policy)
    return PolicyPlace(
        tier=spec.tier or DEFAULT_TIER,
        order=spec.order,
        ingress=both or "Ingress" in spec.types or "pre-dnat" in stages,
        egress=(both or "Egress" in spec.types) and kind_of(policy) != "pre-dnat",
        stages=stages,
    )


def is_preloaded(policy: AnyPolicy) -> bool:
    """Whether hosts keep the policy ready though no endpoint there uses it yet."""
    return "AssumeNeededOnEveryNode" in policy.spec.performance_hints


def compile_policy(key: ResourceKey, policy: AnyPolicy, *, services_known: bool = False) -> Compiled[PolicyUpdate]:
    """The active form of a policy. A direction that its types leave out has no rules."""
    place = place_of(policy)
    spec = policy.spec
    problems = _unknown_types(policy) + contradictions(policy)
    ingress = egress = CompiledRules()
    if place.ingress:
        ingress = CompiledRules(DENY_ALL)
        if not problems:
            ingress = compile_rules(spec.ingress, key.namespace, "ingress", services_known=services_known)
    if place.egress:
        egress = CompiledRules(DENY_ALL)
        if not problems:
            egress = compile_rules(spec.egress, key.namespace, "egress", services_known=services_known)
    update = PolicyUpdate(
        key=key,
        tier=place.tier,
        kind="staged" if key.kind in STAGED_KINDS else kind_of(policy),
        preload=is_preloaded(policy),
        ingress=ingress.rules,
        egress=egress.rules,
    )
    return Compiled(update, _union(ingress, egress), problems + ingress.problems + egress.problems)


def compile_profile(name: str, profile: Profile | None, *, services_known: bool = False) -> Compiled[ProfileUpdate]:
    """The active form of a profile; one that does not exist denies everything (datamodel
    15.2)."""
    if name == DEFAULT_ALLOW:
        return Compiled(ProfileUpdate(name=name, ingress=_ALLOW_ALL, egress=_ALLOW_ALL))
    if profile is None:
        return Compiled(ProfileUpdate(name=name, ingress=_DENY_MISSING, egress=_DENY_MISSING))
    ingress = compile_rules(profile.spec.ingress, "", "ingress", services_known=services_known)
    egress = compile_rules(profile.spec.egress, "", "egress", services_known=services_known)
    update = ProfileUpdate(name=name, ingress=ingress.rules, egress=egress.rules)
    return Compiled(update, _union(ingress, egress), ingress.problems + egress.problems)


def _union(ingress: CompiledRules, egress: CompiledRules) -> tuple[SetSpec, ...]:
    return tuple({spec.id: spec for spec in (*ingress.sets, *egress.sets)}.values())


def _unknown_types(policy: AnyPolicy) -> tuple[str, ...]:
    return tuple(
        f"spec.types[{position}]: {name!r} is neither Ingress nor Egress"
        for position, name in enumerate(policy.spec.types)
        if name not in ("Ingress", "Egress")
    )
