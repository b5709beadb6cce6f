"""What the demonstration shows: its topology, its three policies, and which packets must pass after each. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from calico.lab.topology import External, Host, Port, Topology, Workload

__all__ = ["SERVICES", "STEPS", "Step", "demo_topology"]

SERVICES: tuple[tuple[str, int | None], ...] = (("TCP", 80), ("TCP", 8080))
_PLACED = (
    ("web1", 1, "web"),
    ("client1", 1, "client"),
    ("web2", 2, "web"),
    ("db1", 2, "db"),
    ("client2", 3, "client"),
    ("db2", 3, "db"),
)
_EXTERNAL_NETS = ("203.0.113.0/24", "2001:db8:113::/64")


class Step(msgspec.Struct, frozen=True):
    """One policy: what it is called, what it says in words, the resource, and who then reaches whom on which port."""

    title: str
    words: str
    resource: dict[str, Any]
    allows: Callable[[str, str, int | None], bool]


def demo_topology(name: str, *, reflectors: bool) -> Topology:
    """Three hosts, six workloads with IPv4 and IPv6, one client outside."""
    http = (Port(name="http", port=80),)
    return Topology(
        name=name,
        hosts=tuple(Host(name=f"host{n}", reflector=reflectors and n < 3) for n in (1, 2, 3)),
        workloads=tuple(
            Workload(name=who, host=f"host{n}", labels={"app": app}, ports=http if app == "web" else ())
            for who, n, app in _PLACED
        ),
        externals=(External(name="outside"),),
    )


def _policy(name: str, order: int, selector: str, types: list[str], **rules: object) -> dict[str, Any]:
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": name},
        "spec": {"order": order, "selector": selector, "types": types, **rules},
    }


_WEB_RULE = {
    "action": "Allow",
    "protocol": "TCP",
    "source": {"selector": "app == 'client'"},
    "destination": {"selector": "app == 'web'", "ports": [80]},
}


def _is(machine: str, app: str) -> bool:
    return machine.rstrip("0123456789") == app


def _nothing(src: str, dst: str, port: int | None) -> bool:
    return False


def _clients_reach_web(src: str, dst: str, port: int | None) -> bool:
    return _is(src, "client") and _is(dst, "web") and port == 80


def _and_databases_reach_outside(src: str, dst: str, port: int | None) -> bool:
    return _clients_reach_web(src, dst, port) or (_is(src, "db") and dst == "outside")


STEPS = (
    Step(
        "default deny",
        "a policy that selects all workloads and allows nothing, in both directions",
        _policy("default-deny", 1000, "all()", ["Ingress", "Egress"]),
        _nothing,
    ),
    Step(
        "allow by label and port",
        "whatever has app=client may reach whatever has app=web, on TCP port 80",
        _policy(
            "web-from-clients",
            100,
            "app in {'web', 'client'}",
            ["Ingress", "Egress"],
            ingress=[_WEB_RULE],
            egress=[_WEB_RULE],
        ),
        _clients_reach_web,
    ),
    Step(
        "egress to an external CIDR",
        f"whatever has app=db may reach {' and '.join(_EXTERNAL_NETS)}",
        _policy(
            "databases-go-out",
            200,
            "app == 'db'",
            ["Egress"],
            egress=[{"action": "Allow", "destination": {"nets": [net]}} for net in _EXTERNAL_NETS],
        ),
        _and_databases_reach_outside,
    ),
)
