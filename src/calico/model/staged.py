"""Staged policies: what a policy would do, without doing it (spec §16.7)."""

from __future__ import annotations

from calico.model.kubernetes.types import LabelSelector, PolicyEgressRule, PolicyIngressRule
from calico.model.meta import Model, Resource
from calico.model.policy import GlobalNetworkPolicySpec, NetworkPolicySpec

__all__ = [
    "STAGED_ACTIONS",
    "STAGED_KINDS",
    "StagedGlobalNetworkPolicy",
    "StagedGlobalNetworkPolicySpec",
    "StagedKubernetesNetworkPolicy",
    "StagedKubernetesNetworkPolicySpec",
    "StagedNetworkPolicy",
    "StagedNetworkPolicySpec",
]

STAGED_ACTIONS = ("Set", "Delete", "Learn", "Ignore")
"""What is staged: the policy as given (also when empty), the removal of the enforced one, a draft, nothing."""

STAGED_KINDS = frozenset(("StagedGlobalNetworkPolicy", "StagedKubernetesNetworkPolicy", "StagedNetworkPolicy"))


class StagedNetworkPolicySpec(NetworkPolicySpec, frozen=True, kw_only=True):
    """What the NetworkPolicy of the same name would be."""

    staged_action: str = ""


class StagedGlobalNetworkPolicySpec(GlobalNetworkPolicySpec, frozen=True, kw_only=True):
    """What the GlobalNetworkPolicy of the same name would be."""

    staged_action: str = ""


class StagedKubernetesNetworkPolicySpec(Model, frozen=True, kw_only=True):
    """What a Kubernetes NetworkPolicy (networking/v1) would be. ``policy_types`` holds Ingress and/or Egress."""

    staged_action: str = ""
    pod_selector: LabelSelector = LabelSelector()
    ingress: tuple[PolicyIngressRule, ...] = ()
    egress: tuple[PolicyEgressRule, ...] = ()
    policy_types: tuple[str, ...] = ()


class StagedNetworkPolicy(Resource, frozen=True, kw_only=True):
    """A namespaced policy that is not enforced."""

    spec: StagedNetworkPolicySpec = StagedNetworkPolicySpec()


class StagedGlobalNetworkPolicy(Resource, frozen=True, kw_only=True):
    """A cluster-wide policy that is not enforced."""

    spec: StagedGlobalNetworkPolicySpec = StagedGlobalNetworkPolicySpec()


class StagedKubernetesNetworkPolicy(Resource, frozen=True, kw_only=True):
    """A Kubernetes policy that is not enforced."""

    spec: StagedKubernetesNetworkPolicySpec = StagedKubernetesNetworkPolicySpec()
