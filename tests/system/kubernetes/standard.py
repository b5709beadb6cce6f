"""The usual world of NetworkPolicy tests: namespaces x, y, z with pods a, b, c each, and a machine outside."""

from __future__ import annotations

from typing import Any

__all__ = ["PODS", "standard_world"]

_NAMESPACES = ("x", "y", "z")
_PORTS = [
    {"name": f"serve-{port}-{protocol.lower()}", "protocol": protocol, "containerPort": port}
    for port in (80, 81)
    for protocol in ("TCP", "UDP", "SCTP")
]
PODS = tuple(f"{namespace}-{name}" for namespace in _NAMESPACES for name in "abc")


def standard_world() -> dict[str, Any]:
    """In the form of the published cases."""
    endpoints: list[dict[str, Any]] = []
    for number, (namespace, name) in enumerate((namespace, name) for namespace in _NAMESPACES for name in "abc"):
        row, column = divmod(number, 3)
        endpoints.append(
            {
                "id": f"{namespace}/{name}", "kind": "pod", "ns": namespace, "name": name, "labels": {"pod": name},
                "node": f"node{number % 2 + 1}", "ports": _PORTS,
                "ips": [f"10.65.{row + 1}.{column + 1}", f"fd00:65::{row + 1}:{column + 1}"],
            }
        )  # fmt: skip
    endpoints.append({"id": "ext", "kind": "external", "ips": ["192.0.2.10", "2001:db8:ffff::a"], "ports": []})
    labels = {name: {"kubernetes.io/metadata.name": name, "ns": name} for name in _NAMESPACES}
    return {"namespaces": labels, "endpoints": endpoints}
