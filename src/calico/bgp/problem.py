"""What can be wrong with BGP on a host, as a catalogue of named problems. Pure data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

__all__ = ["CATALOGUE", "Problem", "ProblemKind", "problems_as_data"]

Severity = Literal["info", "warning", "error", "critical"]


class ProblemKind(msgspec.Struct, frozen=True):
    """One entry of the catalogue: how bad it is, and what follows from it."""

    severity: Severity
    meaning: str


CATALOGUE: dict[str, ProblemKind] = {
    "bgp-not-configured": ProblemKind("warning", "this host's Node is absent or has no spec.bgp: no sessions"),
    "bgp-field-unsupported": ProblemKind("error", "what depends on the field is stopped rather than run without it"),
    "bgp-resource-invalid": ProblemKind("error", "what the resource asks for is stopped; all else works"),
    "bgp-value-adjusted": ProblemKind("warning", "a value outside what the protocol can express was limited"),
    "bgp-field-ignored": ProblemKind("warning", "the field has no effect where it was set"),
    "bgp-password-unavailable": ProblemKind("error", "the peering is stopped rather than run without its password"),
    "bgp-password-mismatch": ProblemKind(
        "error", "segments with a wrong, missing or unexpected MD5 signature arrive: the ends differ in their passwords"
    ),
    "bgp-no-service-source": ProblemKind(
        "warning", "service addresses are not advertised: nothing here knows of services"
    ),
    "bgp-owners-unknown": ProblemKind(
        "error", "which routes are the clients' own is not known: the last configuration stays in force"
    ),
    "bgp-drained": ProblemKind("warning", "by request, neighbours route around this host where they can"),
    "bgp-peering-shadowed": ProblemKind("info", "another peering to the same address has precedence"),
    "bgp-config-held": ProblemKind("critical", "a resource that everything depends on is unreadable: nothing changes"),
    "bgp-no-session": ProblemKind("error", "none of the sessions is up: routes of others are missing or old"),
    "bgp-encap-not-programmed": ProblemKind("warning", "the pool's routes need a tunnel, which BIRD does not program"),
    "bird-not-running": ProblemKind("critical", "BIRD is down; it is being restarted and routes are retained"),
    "bird-check-failed": ProblemKind("critical", "BIRD refuses the new configuration; the last good one runs"),
    "bird-reconfigure-undone": ProblemKind("error", "established sessions were lost; the change was taken back"),
    "bird-listen-failed": ProblemKind("critical", "BIRD cannot listen for BGP; somebody else has the port"),
    "bird-netlink-dropped": ProblemKind("warning", "the kernel dropped route messages; BIRD rescans within 2 s"),
    "bird-unresponsive": ProblemKind("error", "BIRD's control socket does not answer in time"),
    "listener-failed": ProblemKind("warning", "health or metrics cannot be asked there; it is tried again"),
    "datastore-unreachable": ProblemKind(
        "warning", "the last known configuration stays in force; changes do not arrive"
    ),
    "datastore-locked": ProblemKind(
        "warning", "the datastore says that it is not ready: the last known configuration stays in force"
    ),
    "datastore-held": ProblemKind(
        "critical", "the store looks emptied, restored or different; the last known configuration stays in force"
    ),
    "datastore-not-in-sync": ProblemKind("warning", "the last known configuration stays in force"),
}


class Problem(msgspec.Struct, frozen=True, order=True):
    """One thing that is wrong: catalogue code, the object concerned, and a sentence that names the field."""

    code: str
    object: str
    message: str


def problems_as_data(problems: Iterable[Problem]) -> list[dict[str, str]]:
    """For status documents: sorted, each once, with its severity."""
    return [
        {"code": p.code, "severity": CATALOGUE[p.code].severity, "object": p.object, "message": p.message}
        for p in sorted(set(problems))
    ]
