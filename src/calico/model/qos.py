"""Limits of a workload endpoint (spec §16.2): their bounds, and how annotations tell them.

*ingress* is towards the workload. Bandwidth and peak rate are bit/s, burst is bit, minburst bytes; packet rates are
packets per second and their bursts packets; ``maxConnections`` counts connections at one time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec.structs import asdict, replace

from calico.errors import InvalidInput
from calico.model.meta import Model
from calico.model.numorstring import parse_dscp
from calico.model.quantity import parse_quantity

__all__ = [
    "DEFAULT_BURST",
    "DEFAULT_PACKET_BURST",
    "QOS_FIELDS",
    "QoSControls",
    "annotated_controls",
    "bounds_of",
    "completed",
    "control_faults",
]

DEFAULT_BURST: Final = 4294967296
"""Bits that may pass at once when there is a bandwidth and no burst."""

DEFAULT_PACKET_BURST: Final = 5

ANNOTATION_PREFIX: Final = "qos.projectcalico.org/"
_KUBERNETES: Final = {
    "ingressBandwidth": "kubernetes.io/ingress-bandwidth",
    "egressBandwidth": "kubernetes.io/egress-bandwidth",
}
"""Older annotations that say the same; those of our own prefix win."""

_BOUNDS: Final = {
    "bandwidth": (1000, 10**15),
    "burst": (1000, 34359738360),
    "peakrate": (1010, 1010 * 10**12),
    "minburst": (1000, 10**8),
    "packet_rate": (1, 10000),
    "packet_burst": (1, 10000),
    "max_connections": (1, 2**32 - 1),
}


class QoSControls(Model, frozen=True, kw_only=True):
    """What an endpoint may use; 0 (for ``dscp`` None) is no limit, or the default of what belongs to another."""

    ingress_bandwidth: int = 0
    ingress_burst: int = 0
    ingress_peakrate: int = 0
    ingress_minburst: int = 0
    egress_bandwidth: int = 0
    egress_burst: int = 0
    egress_peakrate: int = 0
    egress_minburst: int = 0
    ingress_packet_rate: int = 0
    ingress_packet_burst: int = 0
    egress_packet_rate: int = 0
    egress_packet_burst: int = 0
    ingress_max_connections: int = 0
    egress_max_connections: int = 0
    dscp: int | str | None = None


QOS_FIELDS: Final = dict(zip(QoSControls.__struct_fields__, QoSControls.__struct_encode_fields__, strict=True))
"""The JSON name of each field."""


def bounds_of(field: str) -> tuple[int, int]:
    """The least and the greatest value of a limit other than ``dscp``, by its name in ``QoSControls``."""
    return _BOUNDS[field.partition("_")[2]]


def control_faults(controls: QoSControls) -> Iterator[tuple[str, str]]:
    """(field, reason) of every limit that is out of bounds or contradicts another."""
    for name, value in asdict(controls).items():
        if name == "dscp":
            if reason := _dscp_fault(value):
                yield name, reason
            continue
        low, high = bounds_of(name)
        if value and not low <= value <= high:
            yield name, f"must be within {low} and {high}"
    for direction in ("ingress", "egress"):
        peak, rate = getattr(controls, f"{direction}_peakrate"), getattr(controls, f"{direction}_bandwidth")
        if peak and rate and peak <= rate:
            yield f"{direction}_peakrate", f"must be more than {direction}Bandwidth"


def completed(controls: QoSControls, more: QoSControls) -> QoSControls:
    """Controls with what they lack taken from ``more``."""
    lacking = {name: value for name, value in asdict(more).items() if getattr(controls, name) in (0, None)}
    if controls.dscp is not None:
        lacking.pop("dscp", None)
    return replace(controls, **lacking)


def annotated_controls(annotations: Mapping[str, str]) -> tuple[QoSControls, tuple[str, ...]]:
    """What annotations say, and a sentence for each that says nothing that can be understood (it is left out)."""
    found: dict[str, Any] = {}
    problems: list[str] = []
    for name, json_name in QOS_FIELDS.items():
        annotation = ANNOTATION_PREFIX + json_name
        if annotation not in annotations:
            annotation = _KUBERNETES.get(json_name, annotation)
        if annotation not in annotations:
            continue
        try:
            found[name] = (parse_dscp if name == "dscp" else parse_quantity)(annotations[annotation])
        except InvalidInput as error:
            problems.append(f"metadata.annotations[{annotation}]: {error.message}; left out")
    return QoSControls(**found), tuple(problems)


def _dscp_fault(value: int | str | None) -> str:
    try:
        if value is not None:
            parse_dscp(value)
    except InvalidInput as error:
        return error.message
    return ""
