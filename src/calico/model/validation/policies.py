"""Policies, tiers, profiles and network sets (spec §16.6, §16.8 to §16.10)."""

from __future__ import annotations

from calico.model.defaults import PREDEFINED_TIERS
from calico.model.policy import GlobalNetworkPolicySpec, NetworkPolicySpec, NetworkSetSpec, ProfileSpec, Tier
from calico.model.validation import syntax
from calico.model.validation.metadata import check_labels
from calico.model.validation.report import Report
from calico.model.validation.rules import check_rules

__all__ = ["check_global_policy", "check_net_set", "check_policy", "check_profile", "check_tier"]

NAMESPACE_LABEL = "projectcalico.org/namespace"


def check_policy(report: Report, spec: NetworkPolicySpec, *, of_global: bool = False) -> None:
    """Check what namespaced and global policies have in common."""
    report.parses(syntax.name, "spec.tier", spec.tier)
    report.check(spec.order is None or spec.order == spec.order, "spec.order", spec.order, "must be a number")
    report.parses(syntax.selector, "spec.selector", spec.selector)
    report.parses(syntax.selector, "spec.serviceAccountSelector", spec.service_account_selector)
    report.distinct(spec.types, "spec.types")
    for index, kind in enumerate(spec.types):
        report.check(kind in ("Ingress", "Egress"), f"spec.types[{index}]", kind, "must be Ingress or Egress")
    report.distinct(spec.performance_hints, "spec.performanceHints")
    for index, hint in enumerate(spec.performance_hints):
        known = hint == "AssumeNeededOnEveryNode"
        report.check(known, f"spec.performanceHints[{index}]", hint, "must be AssumeNeededOnEveryNode")
    check_rules(report, spec.ingress, "ingress", of_global=of_global)
    check_rules(report, spec.egress, "egress", of_global=of_global)


def check_global_policy(report: Report, spec: GlobalNetworkPolicySpec) -> None:
    """Check a global policy; untracked and pre-DNAT policies are restricted further."""
    check_policy(report, spec, of_global=True)
    report.parses(syntax.selector, "spec.namespaceSelector", spec.namespace_selector)
    report.check(not (spec.do_not_track and spec.pre_dnat), "spec.preDNAT", True, "excludes doNotTrack")
    if spec.do_not_track or spec.pre_dnat:
        report.check(spec.apply_on_forward, "spec.applyOnForward", False, "must be true with doNotTrack or preDNAT")
    if spec.pre_dnat:
        report.check(not spec.egress, "spec.egress", None, "is not allowed with preDNAT")
        report.check("Egress" not in spec.types, "spec.types", spec.types, "must not hold Egress with preDNAT")


def check_tier(report: Report, tier: Tier) -> None:
    """Check a tier; the predefined ones are fixed."""
    report.one_of(("Deny", "Pass"), "spec.defaultAction", tier.spec.default_action)
    if (fixed := PREDEFINED_TIERS.get(tier.metadata.name)) is not None:
        order, action = fixed
        report.check(tier.spec.order == order, "spec.order", tier.spec.order, f"must be {order:.0f}")
        given = tier.spec.default_action
        report.check(given == action, "spec.defaultAction", given, f"must be {action}")


def check_profile(report: Report, spec: ProfileSpec) -> None:
    """Check the rules of a profile and the labels it gives to its endpoints."""
    check_labels(report, "spec.labelsToApply", spec.labels_to_apply)
    check_rules(report, spec.ingress, "ingress")
    check_rules(report, spec.egress, "egress")


def check_net_set(report: Report, spec: NetworkSetSpec, labels: dict[str, str]) -> None:
    """Check a network set; its namespace label is implied and must not be forged."""
    report.check(NAMESPACE_LABEL not in labels, f"metadata.labels[{NAMESPACE_LABEL}]", None, "is reserved")
    report.distinct(spec.nets, "spec.nets")
    for index, text in enumerate(spec.nets):
        report.means(syntax.cidr, f"spec.nets[{index}]", text)
