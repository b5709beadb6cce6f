"""Names, labels and annotations (spec §5)."""

from __future__ import annotations

import re

from calico.errors import InvalidInput
from calico.model.meta import Metadata
from calico.model.validation import syntax
from calico.model.validation.report import Report

__all__ = ["check_annotation_keys", "check_labels", "check_metadata"]

ANNOTATIONS_LIMIT_BYTES = 262144
_L = syntax.LABEL
_GLOBAL_POLICY = re.compile(rf"{_L}(?:\.{_L})?|kcnp\.(?:admin|baseline)\.{syntax.SUBDOMAIN}")
_POLICY = re.compile(rf"{_L}(?:\.{_L})?|(?:knp|ossg)\.default\.{syntax.SUBDOMAIN}")


def check_metadata(report: Report, kind: str, metadata: Metadata) -> None:
    """Check the name by the rules of the kind, and labels and annotations by those of all kinds."""
    _check_name(report, kind, metadata.name)
    check_labels(report, "metadata.labels", metadata.labels)
    check_annotation_keys(report, "metadata.annotations", metadata.annotations)
    total = sum(
        len(key.encode(errors="replace")) + len(value.encode(errors="replace"))
        for key, value in metadata.annotations.items()
    )
    report.check(
        total <= ANNOTATIONS_LIMIT_BYTES,
        "metadata.annotations",
        total,
        f"keys and values must not exceed {ANNOTATIONS_LIMIT_BYTES} bytes",
    )


def _check_name(report: Report, kind: str, name: str) -> None:
    where = "metadata.name"
    if not name:
        report.error(where, None, "is required")
        return
    report.means(syntax.dns_label if kind == "Tier" else syntax.name, where, name)
    match kind:
        case "NetworkPolicy" | "StagedNetworkPolicy":
            report.check(_POLICY.fullmatch(name), where, name, "must hold at most one dot")
        case "GlobalNetworkPolicy" | "StagedGlobalNetworkPolicy":
            report.check(_GLOBAL_POLICY.fullmatch(name), where, name, "must hold at most one dot")
        case "ClusterInformation" | "IPAMConfiguration" | "KubeControllersConfiguration":
            report.check(name == "default", where, name, "must be 'default'")


def check_labels(report: Report, where: str, labels: dict[str, str]) -> None:
    """Check label keys and values by Kubernetes' syntax."""
    for key, value in labels.items():
        report.means(syntax.qualified_name, f"{where}[{key}]", key)
        try:
            syntax.label_value(value)
        except InvalidInput as refused:
            report.error(f"{where}[{key}]", value, refused.message)


def check_annotation_keys(report: Report, where: str, annotations: dict[str, str]) -> None:
    """Check the keys of annotations; their values are free."""
    for key in annotations:
        report.means(syntax.qualified_name, f"{where}[{key}]", key.lower())
