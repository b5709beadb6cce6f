"""A NetworkPolicy that cannot be converted, or whose result Calico would refuse, as one that allows nothing. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from calico.errors import InvalidInput
from calico.model.codec import encode
from calico.model.defaults import with_defaults
from calico.model.kubernetes.networkpolicy import Converted, network_policy_to_calico
from calico.model.meta import Resource
from calico.model.policy import NetworkPolicy
from calico.model.validation import validate

__all__ = ["KNP", "network_policy_or_closed", "resource_name", "too_large"]

KNP = "knp.default."
_NAME_MAX = 253
_BYTES_MAX = 1_400_000


def network_policy_or_closed(source: Mapping[str, Any]) -> Converted:
    """Never raises for an object with a name. Rules that Calico refuses are left out one by one, which allows less.

    When even the pods that it selects cannot be told, all pods of its namespace are isolated in its directions.
    """
    try:
        converted = network_policy_to_calico(source)
    except (InvalidInput, ValueError, TypeError, AttributeError) as error:
        bare = {**source, "spec": _directions(source.get("spec"))}
        problem = f"all pods of the namespace are isolated: {error}"
        return Converted(_named(network_policy_to_calico(bare).policy), (problem,))
    policy, problems = _named(converted.policy), [*converted.problems]
    for direction in ("ingress", "egress"):
        kept = []
        for rule in getattr(policy.spec, direction):
            alone = replace(policy.spec, **({"ingress": (), "egress": ()} | {direction: (rule,)}))
            faults = _faults(replace(policy, spec=alone))
            if faults:
                problems.append(f"a rule of spec.{direction} is left out: {faults}")
            else:
                kept.append(rule)
        policy = replace(policy, spec=replace(policy.spec, **{direction: tuple(kept)}))
    faults = _faults(policy) or too_large(policy)
    if faults:
        problems.append(f"what it selects is isolated, nothing is allowed: {faults}")
        policy = replace(policy, spec=replace(policy.spec, ingress=(), egress=()))
    return Converted(policy, tuple(problems))


def too_large(policy: Resource) -> str:
    """Why the datastore would not take it; empty when it does."""
    size = len(encode(policy))
    return "" if size <= _BYTES_MAX else f"{size} bytes are more than the datastore takes ({_BYTES_MAX})"


def resource_name(prefix: str, name: str) -> str:
    """``prefix`` and the name of an object; what would be longer than names may be ends in a hash of it."""
    whole = f"{prefix}{name}"
    if len(whole) <= _NAME_MAX:
        return whole
    return f"{whole[: _NAME_MAX - 33].rstrip('.-')}-{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def _named(policy: NetworkPolicy) -> NetworkPolicy:
    name = resource_name(KNP, policy.metadata.name.removeprefix(KNP))
    return replace(policy, metadata=replace(policy.metadata, name=name))


def _directions(spec: Any) -> dict[str, Any]:
    given = spec if isinstance(spec, Mapping) else {}
    types = given.get("policyTypes") or (["Ingress", "Egress"] if given.get("egress") else ["Ingress"])
    return {"podSelector": {}, "policyTypes": types}


def _faults(policy: NetworkPolicy) -> str:
    return "; ".join(str(problem) for problem in validate(with_defaults(policy)))
