"""Stored bytes to resources, for readers that must go on whatever they find.

Three attempts: decode as is; then with JSON nulls removed (Go writes null for empty lists); then what ``salvage`` can
save of a damaged object. Policies and profiles with rules that cannot be interpreted fail closed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec.structs import force_setattr, replace

from calico.errors import InvalidInput
from calico.model.effective import policy_selector
from calico.model.ipam import BlockAffinity, IPReservation
from calico.model.ippool import IPPool
from calico.model.keys import ResourceKey
from calico.model.kinds import BY_KIND
from calico.model.meta import Metadata, Resource
from calico.model.policy import (
    GlobalNetworkSet,
    NetworkSet,
    Profile,
    Rule,
    Tier,
)
from calico.model.salvage import DENIES, MALFORMED, Policy, salvage
from calico.model.soundness import net_fault, rule_fault

__all__ = ["DENY_DAMAGED", "POLICY_NAME_ANNOTATION", "TIER_LABEL", "Decoded", "decode"]

POLICY_NAME_ANNOTATION = "projectcalico.org/metadata"
TIER_LABEL = "projectcalico.org/tier"

R = TypeVar("R", bound=Resource)
NetSet = NetworkSet | GlobalNetworkSet

DENY_DAMAGED = (Rule(action="Deny"),)
"""The rules of a policy or profile whose own cannot be interpreted; this very tuple, so that they can be told from
rules that somebody wrote."""
_SHARED_METADATA = Resource().metadata


class Decoded(msgspec.Struct, frozen=True):
    """What became of stored bytes: the resource, or None when nothing could be saved, and what was wrong."""

    resource: Resource | None
    problems: tuple[str, ...] = ()


def decode(key: ResourceKey, raw: bytes, mod_revision: int = 0) -> Decoded:
    """The resource stored under ``key``; never raises, whatever the bytes.

    Kind, namespace and name come from the key, the resource version from ``mod_revision`` (0: left empty).
    """
    info = BY_KIND.get(key.kind)
    if info is None:
        return Decoded(None, (f"unknown kind {key.kind!r}",))
    try:
        resource = _decoder(info.cls).decode(raw)
    except MALFORMED:
        resource, problems = salvage(info.cls, raw)
        if resource is None:
            return Decoded(None, problems)
    else:
        problems = ()
    _identify(resource, key, mod_revision)
    inspect = _INSPECTIONS.get(key.kind)
    if inspect is None:
        return Decoded(resource, problems)
    return inspect(resource, problems)


@cache
def _decoder(cls: type[R]) -> msgspec.json.Decoder[R]:
    return msgspec.json.Decoder(cls)


def _identify(resource: Resource, key: ResourceKey, mod_revision: int) -> None:
    """Fill in what the key and the revision say. The object was just made here, so changing it is unseen."""
    metadata = resource.metadata
    if metadata is _SHARED_METADATA:
        metadata = Metadata()
        force_setattr(resource, "metadata", metadata)
    force_setattr(resource, "kind", key.kind)
    force_setattr(metadata, "name", key.name)
    force_setattr(metadata, "namespace", key.namespace)
    force_setattr(metadata, "resource_version", str(mod_revision) if mod_revision else "")


def _inspect_policy(policy: Policy, problems: tuple[str, ...]) -> Decoded:
    _reveal_name(policy)
    spec, salvaged = policy.spec, any(problem.startswith(DENIES) for problem in problems)
    if unknown := [kind for kind in spec.types if kind not in ("Ingress", "Egress")]:
        problems += (f"spec.types: unknown type {unknown[0][:64]!r}",)
        # With no known type left both directions apply, as for absent types.
        spec = replace(spec, types=tuple(kind for kind in spec.types if kind in ("Ingress", "Egress")))
    try:
        policy_selector(policy)
    except InvalidInput as error:
        return Decoded(None, (*problems, f"spec.selector: {error.message[:300]}"))
    if fault := _rules_fault(spec.ingress, spec.egress):
        problems += (f"rules cannot be interpreted, everything is denied: {fault}",)
    if fault or salvaged:
        types = spec.types or ("Ingress", "Egress")
        spec = replace(
            spec, ingress=DENY_DAMAGED if "Ingress" in types else (), egress=DENY_DAMAGED if "Egress" in types else ()
        )
    return Decoded(policy if spec is policy.spec else replace(policy, spec=spec), problems)


def _inspect_profile(profile: Profile, problems: tuple[str, ...]) -> Decoded:
    if fault := _rules_fault(profile.spec.ingress, profile.spec.egress):
        spec = replace(profile.spec, ingress=DENY_DAMAGED, egress=DENY_DAMAGED)
        profile = replace(profile, spec=spec)
        problems += (f"rules cannot be interpreted, everything is denied: {fault}",)
    return Decoded(profile, problems)


def _rules_fault(ingress: tuple[Rule, ...], egress: tuple[Rule, ...]) -> str:
    for direction, rules in (("ingress", ingress), ("egress", egress)):
        for index, rule in enumerate(rules):
            if fault := rule_fault(rule):
                return f"spec.{direction}[{index}].{fault}"
    return ""


def _reveal_name(policy: Policy) -> None:
    """Take the name from the annotation that every writer adds, or strip ``default.`` of layouts before 3.29."""
    metadata = policy.metadata
    annotation = metadata.annotations.pop(POLICY_NAME_ANNOTATION, None)
    name = _annotated_name(annotation) if annotation is not None else ""
    if not name and annotation is None and policy.spec.tier in ("", "default"):
        name = metadata.name.removeprefix("default.")
    if name:
        force_setattr(metadata, "name", name)
    metadata.labels.setdefault(TIER_LABEL, policy.spec.tier or "default")


def _annotated_name(annotation: str) -> str:
    """The name in the annotation, or empty when there is none that could be part of a key."""
    try:
        name = msgspec.json.decode(annotation, type=_PolicyName).name
    except MALFORMED:
        return ""
    return "" if "/" in name else name


class _PolicyName(msgspec.Struct):
    name: str = ""


def _inspect_net_set(net_set: NetSet, problems: tuple[str, ...]) -> Decoded:
    faults = {net: fault for net in net_set.spec.nets if (fault := net_fault(net))}
    if not faults:
        return Decoded(net_set, problems)
    good = tuple(net for net in net_set.spec.nets if net not in faults)
    problems += tuple(f"spec.nets: {fault}; left out" for fault in faults.values())
    return Decoded(replace(net_set, spec=replace(net_set.spec, nets=good)), problems)


def _inspect_tier(tier: Tier, problems: tuple[str, ...]) -> Decoded:
    action = tier.spec.default_action
    if action in (None, "Deny", "Pass"):
        return Decoded(tier, problems)
    problem = f"spec.defaultAction: unknown action {str(action)[:64]!r}, taken as Deny"
    return Decoded(replace(tier, spec=replace(tier.spec, default_action="Deny")), (*problems, problem))


def _inspect_pool(pool: IPPool, problems: tuple[str, ...]) -> Decoded:
    for name, mode in (("ipipMode", pool.spec.ipip_mode), ("vxlanMode", pool.spec.vxlan_mode)):
        if mode not in ("", "Never", "Always", "CrossSubnet"):
            problems += (f"spec.{name}: unknown mode {mode[:64]!r}",)
    if fault := net_fault(pool.spec.cidr):
        return Decoded(None, (*problems, f"spec.cidr: {fault}"))
    return Decoded(pool, problems)


def _inspect_reservation(reservation: IPReservation, problems: tuple[str, ...]) -> Decoded:
    faults = {cidr: fault for cidr in reservation.spec.reserved_cidrs if (fault := net_fault(cidr))}
    if not faults:
        return Decoded(reservation, problems)
    good = tuple(cidr for cidr in reservation.spec.reserved_cidrs if cidr not in faults)
    problems += tuple(f"spec.reservedCIDRs: {fault}; left out" for fault in faults.values())
    return Decoded(replace(reservation, spec=replace(reservation.spec, reserved_cidrs=good)), problems)


def _inspect_affinity(affinity: BlockAffinity, problems: tuple[str, ...]) -> Decoded:
    deleted = affinity.spec.deleted
    if isinstance(deleted, bool):
        return Decoded(affinity, problems)
    if deleted not in ("true", "false", ""):
        return Decoded(None, (*problems, f"spec.deleted: {deleted[:64]!r} is neither true nor false"))
    return Decoded(replace(affinity, spec=replace(affinity.spec, deleted=deleted == "true")), problems)


_INSPECTIONS: dict[str, Callable[[Any, tuple[str, ...]], Decoded]] = {
    "NetworkPolicy": _inspect_policy,
    "GlobalNetworkPolicy": _inspect_policy,
    "StagedNetworkPolicy": _inspect_policy,
    "StagedGlobalNetworkPolicy": _inspect_policy,
    "Profile": _inspect_profile,
    "NetworkSet": _inspect_net_set,
    "GlobalNetworkSet": _inspect_net_set,
    "Tier": _inspect_tier,
    "IPPool": _inspect_pool,
    "IPReservation": _inspect_reservation,
    "BlockAffinity": _inspect_affinity,
}
