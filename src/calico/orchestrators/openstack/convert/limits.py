"""QoS policies to the limits of an endpoint. Neutron and Calico name directions alike, as the instance sees them.

Neutron counts in thousands (kbit/s, kbit, packets), Calico in ones. What is out of Calico's bounds becomes the nearest
value that Calico has, as with networking-calico, and is told.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from calico.model.qos import QOS_FIELDS, QoSControls, bounds_of, control_faults
from calico.orchestrators.openstack.convert.documents import Options, Problem
from calico.orchestrators.openstack.facts import QosPolicy

__all__ = ["convert_qos"]

_KILO = 1000
_DIRECTIONS = ("ingress", "egress")


def convert_qos(policy: QosPolicy | None, port_id: str, options: Options) -> tuple[QoSControls | None, list[Problem]]:
    """The limits of a port (None: none), and what of its policy could not be followed."""
    found: dict[str, Any] = {
        "ingress_max_connections": options.ingress_max_connections,
        "egress_max_connections": options.egress_max_connections,
    }
    problems: list[Problem] = []

    def tell(code: str, text: str) -> None:
        told = f"port {port_id}: {text}"
        problems.append(Problem(code=code, kind="port", id=port_id, text=told, severity="notice"))

    if policy is not None:
        found |= _limits(policy, options)
        for name in policy.unsupported:
            tell("qos-unsupported", f"rules of type {name} in QoS policy {policy.id} have no effect")
        limited = [limit.direction for limit in policy.bandwidth_limits]
        limited += [limit.direction for limit in policy.packet_rate_limits]
        for direction in sorted(set(limited)):
            if direction not in _DIRECTIONS:
                tell("qos-unsupported", f"QoS policy {policy.id} limits {direction!r} traffic, which has no effect")
    for name, value in found.items():
        low, high = (0, 0) if name == "dscp" or not value else bounds_of(name)
        nearest = min(max(value or 0, low), high)
        if high and value != nearest:
            tell("qos-out-of-bounds", f"{QOS_FIELDS[name]} {value} is not within {low} and {high}; it is {nearest}")
            found[name] = nearest
    nothing = QoSControls()
    controls = QoSControls(**found)
    faults = dict(control_faults(controls))
    for name, reason in faults.items():
        tell("qos-out-of-bounds", f"{QOS_FIELDS[name]} {getattr(controls, name)} {reason}; it is not limited")
    controls = replace(controls, **{name: getattr(nothing, name) for name in faults})
    return (None if controls == nothing else controls), problems


def _limits(policy: QosPolicy, options: Options) -> dict[str, Any]:
    found: dict[str, Any] = {"dscp": policy.dscp_mark}
    burst = "peakrate" if options.burst_is_peak else "burst"
    for limit in policy.bandwidth_limits:
        if limit.direction in _DIRECTIONS:
            found[f"{limit.direction}_bandwidth"] = limit.max_kbps * _KILO
            found[f"{limit.direction}_{burst}"] = limit.max_burst_kbps * _KILO
    for rate in policy.packet_rate_limits:
        if rate.direction in _DIRECTIONS:
            found[f"{rate.direction}_packet_rate"] = rate.max_kpps * _KILO
            found[f"{rate.direction}_packet_burst"] = rate.max_burst_kpps * _KILO
    return found
