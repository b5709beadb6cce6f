"""Kubernetes label selectors as Calico selector text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from calico.errors import InvalidInput

__all__ = ["POD_TERM", "namespace_selector_text", "pod_selector_text"]

POD_TERM = "projectcalico.org/orchestrator == 'k8s'"


def pod_selector_text(selector: Mapping[str, Any]) -> str:
    """Selects the pods (and nothing that is not a pod) that match; ``{}`` selects all pods."""
    return " && ".join([POD_TERM, *_terms(selector)])


def namespace_selector_text(selector: Mapping[str, Any]) -> str:
    """Selects namespaces; ``{}`` selects all of them."""
    return " && ".join(_terms(selector)) or "all()"


def _terms(selector: Mapping[str, Any]) -> list[str]:
    labels = selector.get("matchLabels") or {}
    terms = [f"{key} == {_quoted(labels[key])}" for key in sorted(labels)]
    for expression in selector.get("matchExpressions") or ():
        terms.append(_expression(expression))
    return terms


def _expression(expression: Mapping[str, Any]) -> str:
    key, operator = expression.get("key", ""), expression.get("operator", "")
    values = ", ".join(_quoted(value) for value in expression.get("values") or ())
    forms = {
        "In": f"{key} in {{ {values} }}",
        "NotIn": f"{key} not in {{ {values} }}",
        "Exists": f"has({key})",
        "DoesNotExist": f"! has({key})",
    }
    if not key or operator not in forms:
        raise InvalidInput(f"operator {operator!r} of key {key!r} is unknown", field="matchExpressions")
    if operator in ("In", "NotIn") and not values:
        raise InvalidInput(f"operator {operator} of key {key!r} needs values", field="matchExpressions")
    return forms[operator]


def _quoted(value: str) -> str:
    if "'" in value:
        raise InvalidInput(f"label value {value!r} is not valid", field="matchLabels")
    return f"'{value}'"
