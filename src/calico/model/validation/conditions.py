"""Conditions of a status, as Kubernetes' API conventions have them (spec §16.8, §16.11)."""

from __future__ import annotations

from datetime import datetime

from calico.errors import InvalidInput
from calico.model.conditions import Condition, ConditionedStatus
from calico.model.validation import syntax
from calico.model.validation.report import Report

__all__ = ["check_conditions", "timestamp"]

LONGEST_TYPE, LONGEST_REASON, LONGEST_MESSAGE = 316, 1024, 32768
_type = syntax.pattern(
    rf"(?:{syntax.SUBDOMAIN}/)?(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]", "a name, after an optional prefix/"
)
_reason = syntax.pattern(r"[A-Za-z](?:[A-Za-z0-9_,:]*[A-Za-z0-9_])?", "one word that begins with a letter")


def check_conditions(report: Report, status: ConditionedStatus | None) -> None:
    """Check every condition, and that none is told twice."""
    seen: set[str] = set()
    for index, condition in enumerate(status.conditions if status is not None else ()):
        where = f"status.conditions[{index}]"
        _check_condition(report, where, condition)
        report.check(condition.type not in seen, f"{where}.type", condition.type, "is given twice")
        seen.add(condition.type)


def _check_condition(report: Report, where: str, condition: Condition) -> None:
    report.means(_type, f"{where}.type", condition.type)
    report.longest(LONGEST_TYPE, f"{where}.type", condition.type)
    states = ("True", "False", "Unknown")
    report.check(condition.status in states, f"{where}.status", condition.status, f"must be one of {', '.join(states)}")
    report.means(timestamp, f"{where}.lastTransitionTime", condition.last_transition_time)
    report.means(_reason, f"{where}.reason", condition.reason)
    report.longest(LONGEST_REASON, f"{where}.reason", condition.reason)
    report.longest(LONGEST_MESSAGE, f"{where}.message", condition.message)
    report.within(0, 2**63 - 1, f"{where}.observedGeneration", condition.observed_generation)


def timestamp(text: str) -> None:
    """An RFC 3339 time with its zone."""
    try:
        known = datetime.fromisoformat(text).tzinfo is not None and text[10:11] in ("T", "t")
    except ValueError:
        known = False
    if not known:
        raise InvalidInput("must be a time such as 2026-08-22T13:33:20Z")
