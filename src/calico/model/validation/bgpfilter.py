"""BGPFilter (spec §16.15)."""

from __future__ import annotations

from calico.model.bgpfilter import BGPFilterSpec, FilterOperation, FilterRule, PrefixLength
from calico.model.communities import parse_community
from calico.model.numorstring import parse_as_number
from calico.model.validation import syntax
from calico.model.validation.report import Report

__all__ = ["check_bgp_filter", "check_filter_operation", "check_filter_rule"]

HIGHEST_PRIORITY = 2147483646
OPERATORS = ("Equal", "NotEqual", "In", "NotIn")
_interface = syntax.pattern(r"[a-zA-Z0-9_.*-]{1,15}", "1 to 15 letters, digits, '_', '.', '-' and '*'")


def check_bgp_filter(report: Report, spec: BGPFilterSpec) -> None:
    """Check every rule of every list."""
    for name, rules, version in (
        ("exportV4", spec.export_v4, 4),
        ("importV4", spec.import_v4, 4),
        ("exportV6", spec.export_v6, 6),
        ("importV6", spec.import_v6, 6),
    ):
        for index, rule in enumerate(rules):
            check_filter_rule(report, f"spec.{name}[{index}]", rule, version)


def check_filter_rule(report: Report, where: str, rule: FilterRule, version: int) -> None:
    """Check one rule of a list for an IP version."""
    report.parses(lambda text: syntax.net(text, version), f"{where}.cidr", rule.cidr)
    report.one_of(OPERATORS, f"{where}.matchOperator", rule.match_operator)
    report.check(bool(rule.cidr) == bool(rule.match_operator), f"{where}.matchOperator", None, "goes with cidr")
    if rule.prefix_length is not None:
        report.check(rule.cidr, f"{where}.prefixLength", None, "needs cidr")
        _check_length(report, f"{where}.prefixLength", rule.prefix_length, 32 if version == 4 else 128)
    report.one_of(("RemotePeers",), f"{where}.source", rule.source)
    report.parses(_interface, f"{where}.interface", rule.interface)
    report.one_of(("eBGP", "iBGP"), f"{where}.peerType", rule.peer_type)
    if rule.communities is not None:
        values = rule.communities.values
        report.check(len(values) == 1, f"{where}.communities.values", None, "must have exactly one entry")
        for position, value in enumerate(values):
            report.means(parse_community, f"{where}.communities.values[{position}]", value)
    for position, number in enumerate(rule.as_path_prefix):
        report.means(parse_as_number, f"{where}.asPathPrefix[{position}]", number)
    report.within(1, HIGHEST_PRIORITY, f"{where}.priority", rule.priority)
    report.check(rule.action in ("Accept", "Reject"), f"{where}.action", rule.action, "must be Accept or Reject")
    report.check(not rule.operations or rule.action == "Accept", f"{where}.operations", None, "need the action Accept")
    report.at_most(10, rule.operations, f"{where}.operations")
    for position, operation in enumerate(rule.operations):
        check_filter_operation(report, f"{where}.operations[{position}]", operation)


def check_filter_operation(report: Report, where: str, operation: FilterOperation) -> None:
    """Check that exactly one change is asked for, and which."""
    given = (operation.add_community, operation.prepend_as_path, operation.set_priority)
    report.check(
        sum(part is not None for part in given) == 1,
        where,
        None,
        "must have exactly one of addCommunity, prependASPath and setPriority",
    )
    if operation.add_community is not None:
        report.means(parse_community, f"{where}.addCommunity.value", operation.add_community.value)
    if operation.prepend_as_path is not None:
        prefix = operation.prepend_as_path.prefix
        report.check(prefix, f"{where}.prependASPath.prefix", None, "is required")
        report.at_most(10, prefix, f"{where}.prependASPath.prefix")
        for position, number in enumerate(prefix):
            report.means(parse_as_number, f"{where}.prependASPath.prefix[{position}]", number)
    if operation.set_priority is not None:
        report.within(1, HIGHEST_PRIORITY, f"{where}.setPriority.value", operation.set_priority.value)


def _check_length(report: Report, where: str, length: PrefixLength, longest: int) -> None:
    report.within(0, longest, f"{where}.min", length.min)
    report.within(0, longest, f"{where}.max", length.max)
    if length.min is not None and length.max is not None:
        report.check(length.min <= length.max, f"{where}.max", length.max, "must not be less than min")
