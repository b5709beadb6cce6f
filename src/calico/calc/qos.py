"""The limits of an endpoint as its host is told them: from ``qosControls`` and annotations, bounds applied.

A limit that is out of bounds is left out and named; the endpoint and its other limits stay.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import asdict, replace

from calico.calc.messages import QoS
from calico.model.numorstring import dscp_value
from calico.model.qos import (
    DEFAULT_BURST,
    DEFAULT_PACKET_BURST,
    QOS_FIELDS,
    QoSControls,
    annotated_controls,
    completed,
    control_faults,
)

__all__ = ["decode_qos"]

_NOTHING = QoSControls()
_NO_LIMITS = QoS()


def decode_qos(controls: QoSControls | None, annotations: Mapping[str, str]) -> tuple[QoS | None, tuple[str, ...]]:
    """The limits (None: there are none) and what is wrong with them. ``qosControls`` wins field by field."""
    annotated, problems = annotated_controls(annotations) if annotations else (_NOTHING, ())
    merged = completed(controls or _NOTHING, annotated)
    if merged == _NOTHING:
        return None, problems
    faults = dict(control_faults(merged))
    for name, reason in faults.items():
        problems += (f"spec.qosControls.{QOS_FIELDS[name]}: {getattr(merged, name)!r} {reason}; left out",)
    qos = _effective(replace(merged, **{name: getattr(_NOTHING, name) for name in faults}))
    return (None if qos == _NO_LIMITS else qos), problems


def _effective(controls: QoSControls) -> QoS:
    """Defaults filled in, and nothing kept that has no effect without another limit."""
    values = asdict(controls)
    values["dscp"] = None if controls.dscp is None else dscp_value(controls.dscp)
    for direction in ("ingress", "egress"):
        for name, needed, default in (
            ("burst", "bandwidth", DEFAULT_BURST),
            ("peakrate", "bandwidth", 0),
            ("minburst", "peakrate", 0),
            ("packet_burst", "packet_rate", DEFAULT_PACKET_BURST),
        ):
            given = values[f"{direction}_{name}"] or default
            values[f"{direction}_{name}"] = given if values[f"{direction}_{needed}"] else 0
    return QoS(**values)
