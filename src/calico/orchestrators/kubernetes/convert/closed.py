"""A NetworkPolicy that cannot be converted, or whose result Calico would refuse, as one that allows nothing. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from calico.errors import InvalidInput
from calico.model.defaults import with_defaults
from calico.model.kubernetes.networkpolicy import Converted, network_policy_to_calico
from calico.model.policy import NetworkPolicy
from calico.model.validation import validate

__all__ = ["network_policy_or_closed"]


def network_policy_or_closed(source: Mapping[str, Any]) -> Converted:
    """Never raises for an object with a name. Rules that Calico refuses are left out one by one, which allows less.

    When even the pods that it selects cannot be told, all pods of its namespace are isolated in its directions.
    """
    try:
        converted = network_policy_to_calico(source)
    except (InvalidInput, ValueError, TypeError, AttributeError) as error:
        bare = {**source, "spec": _directions(source.get("spec"))}
        problem = f"all pods of the namespace are isolated: {error}"
        return Converted(network_policy_to_calico(bare).policy, (problem,))
    policy, problems = converted.policy, [*converted.problems]
    for direction in ("ingress", "egress"):
        kept = []
        for rule in getattr(policy.spec, direction):
            faults = _faults(replace(policy, spec=replace(policy.spec, **{"ingress": (), "egress": (), direction: (rule,)})))
            if faults:
                problems.append(f"a rule of spec.{direction} is left out: {faults}")
            else:
                kept.append(rule)
        policy = replace(policy, spec=replace(policy.spec, **{direction: tuple(kept)}))
    return Converted(policy, tuple(problems))


def _directions(spec: Any) -> dict[str, Any]:
    given = spec if isinstance(spec, Mapping) else {}
    types = given.get("policyTypes") or (["Ingress", "Egress"] if given.get("egress") else ["Ingress"])
    return {"podSelector": {}, "policyTypes": types}


def _faults(policy: NetworkPolicy) -> str:
    return "; ".join(str(problem) for problem in validate(with_defaults(policy)))
