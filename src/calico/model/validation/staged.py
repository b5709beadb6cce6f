"""Staged policies (spec §16.7)."""

from __future__ import annotations

import msgspec

from calico.errors import InvalidInput
from calico.model.kubernetes.networkpolicy import network_policy_to_calico
from calico.model.kubernetes.types import LabelSelector, PolicyPeer, PolicyPort
from calico.model.policy import GlobalNetworkPolicySpec, NetworkPolicySpec
from calico.model.staged import (
    STAGED_ACTIONS,
    StagedGlobalNetworkPolicySpec,
    StagedKubernetesNetworkPolicySpec,
    StagedNetworkPolicySpec,
)
from calico.model.validation import syntax
from calico.model.validation.policies import check_global_policy, check_policy
from calico.model.validation.report import Report

__all__ = ["check_staged_kubernetes_policy", "check_staged_policy"]

_MAY_STAY_WITH_DELETE = ("staged_action", "tier", "types", "policy_types")


def check_staged_policy(report: Report, spec: StagedNetworkPolicySpec | StagedGlobalNetworkPolicySpec) -> None:
    """Check what is checked of the enforced kind, and that the removal of a policy says nothing else."""
    _check_action(report, spec.staged_action, spec)
    if isinstance(spec, GlobalNetworkPolicySpec):
        check_global_policy(report, spec)
    else:
        check_policy(report, spec)


def check_staged_kubernetes_policy(report: Report, spec: StagedKubernetesNetworkPolicySpec) -> None:
    """Check that all of a Kubernetes policy can be converted: rules that cannot are refused rather than left out."""
    _check_action(report, spec.staged_action, spec)
    report.distinct(spec.policy_types, "spec.policyTypes")
    for index, kind in enumerate(spec.policy_types):
        report.check(kind in ("Ingress", "Egress"), f"spec.policyTypes[{index}]", kind, "must be Ingress or Egress")
    _check_label_selector(report, "spec.podSelector", spec.pod_selector)
    for number, ingress in enumerate(spec.ingress):
        _check_ends(report, f"spec.ingress[{number}]", "from", ingress.from_, ingress.ports)
    for number, egress in enumerate(spec.egress):
        _check_ends(report, f"spec.egress[{number}]", "to", egress.to, egress.ports)
    try:
        problems = network_policy_to_calico({"spec": msgspec.to_builtins(spec)}).problems
    except InvalidInput as error:
        report.error("spec.podSelector", None, error.message)
        return
    for problem in problems:
        where, _, why = problem.partition(" is left out: ")
        report.error(where, None, why)


def _check_action(report: Report, action: str, spec: NetworkPolicySpec | StagedKubernetesNetworkPolicySpec) -> None:
    report.one_of(STAGED_ACTIONS, "spec.stagedAction", action)
    if action != "Delete":
        return
    empty = type(spec)()
    for field in msgspec.structs.fields(spec):
        if field.name not in _MAY_STAY_WITH_DELETE and getattr(spec, field.name) != getattr(empty, field.name):
            report.error(f"spec.{field.encode_name}", None, "must be absent with stagedAction Delete")


def _check_ends(
    report: Report, where: str, name: str, peers: tuple[PolicyPeer, ...], ports: tuple[PolicyPort, ...]
) -> None:
    for index, peer in enumerate(peers):
        here = f"{where}.{name}[{index}]"
        if peer.ip_block is not None:
            report.means(syntax.cidr, f"{here}.ipBlock.cidr", peer.ip_block.cidr)
            for position, hole in enumerate(peer.ip_block.except_):
                report.means(syntax.cidr, f"{here}.ipBlock.except[{position}]", hole)
        _check_label_selector(report, f"{here}.podSelector", peer.pod_selector)
        _check_label_selector(report, f"{here}.namespaceSelector", peer.namespace_selector)
    for index, port in enumerate(ports):
        report.one_of(("TCP", "UDP", "SCTP"), f"{where}.ports[{index}].protocol", port.protocol)


def _check_label_selector(report: Report, where: str, selector: LabelSelector | None) -> None:
    """Check that every expression says of which label it speaks, and how; conversion judges the rest."""
    for index, expression in enumerate(selector.match_expressions if selector is not None else ()):
        here = f"{where}.matchExpressions[{index}]"
        report.check(expression.key, f"{here}.key", None, "is required")
        report.check(expression.operator, f"{here}.operator", None, "is required")
