"""Staged policies as the policies that they would be (datamodel 15.1, 16.7)."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from calico.errors import InvalidInput
from calico.model.kubernetes.networkpolicy import network_policy_to_calico
from calico.model.meta import Metadata, Resource
from calico.model.policy import GlobalNetworkPolicy, NetworkPolicy
from calico.model.staged import (
    STAGED_ACTIONS,
    STAGED_KINDS,
    StagedGlobalNetworkPolicy,
    StagedKubernetesNetworkPolicy,
    StagedNetworkPolicy,
)

__all__ = ["POLICY_KINDS", "AnyPolicy", "Form", "form_of"]

AnyPolicy: TypeAlias = NetworkPolicy | GlobalNetworkPolicy
POLICY_KINDS = frozenset(("NetworkPolicy", "GlobalNetworkPolicy", *STAGED_KINDS))


class Form(msgspec.Struct, frozen=True):
    """A policy in the form in which it is compiled; None when there is nothing to program.

    ``problems`` say why, or (with a policy) what is left out of it.
    """

    policy: AnyPolicy | None = None
    problems: tuple[str, ...] = ()


def form_of(resource: Resource | None) -> Form:
    """What an enforced policy is, and what a staged one would be.

    Only *Set* stages a policy: *Delete* stages that there is none, *Learn* marks a draft that somebody still changes,
    *Ignore* nothing.
    """
    match resource:
        case NetworkPolicy() | GlobalNetworkPolicy():
            return Form(resource)
        case StagedNetworkPolicy() | StagedGlobalNetworkPolicy() | StagedKubernetesNetworkPolicy():
            action = resource.spec.staged_action or "Set"
            if action == "Set":
                return _set(resource)
            if action in STAGED_ACTIONS:
                return Form()
            return Form(None, (f"spec.stagedAction: {action!r} is none of {', '.join(STAGED_ACTIONS)}",))
        case _:
            return Form()


def _set(resource: StagedNetworkPolicy | StagedGlobalNetworkPolicy | StagedKubernetesNetworkPolicy) -> Form:
    match resource:
        case StagedNetworkPolicy():
            return Form(NetworkPolicy(metadata=resource.metadata, spec=resource.spec))
        case StagedGlobalNetworkPolicy():
            return Form(GlobalNetworkPolicy(metadata=resource.metadata, spec=resource.spec))
        case StagedKubernetesNetworkPolicy():
            return _kubernetes(resource)


def _kubernetes(resource: StagedKubernetesNetworkPolicy) -> Form:
    try:
        converted = network_policy_to_calico({"spec": msgspec.to_builtins(resource.spec)})
    except InvalidInput as error:
        return Form(None, (f"spec.podSelector: {error.message}",))
    metadata = Metadata(name=resource.metadata.name, namespace=resource.metadata.namespace)
    return Form(NetworkPolicy(metadata=metadata, spec=converted.policy.spec), converted.problems)
