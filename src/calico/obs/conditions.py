"""Conditions: what is wrong now, named, with what it blocks. The catalogue is declared here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

__all__ = ["CATALOGUE", "Condition", "Conditions", "Kind"]

Severity = Literal["warning", "error", "critical"]


class Kind(msgspec.Struct, frozen=True):
    """One entry of the catalogue: how bad it is, and what it means for the host."""

    severity: Severity
    meaning: str


CATALOGUE: dict[str, Kind] = {
    "datastore-unreachable": Kind("warning", "the last known state stays programmed; changes do not arrive"),
    "datastore-not-ready": Kind("error", "ClusterInformation is absent or not ready; nothing new is programmed"),
    "datastore-locked": Kind(
        "warning", "the datastore says that it is not ready: the last known state stays programmed"
    ),
    "datastore-held": Kind("critical", "the store looks emptied, restored or different; our last view is kept"),
    "resource-invalid": Kind(
        "error", "what the resource governs is denied (a host endpoint counts as absent); all else works"
    ),
    "dataplane-rejected": Kind("error", "the kernel refused an object; what it governs is denied"),
    "dataplane-retrying": Kind("warning", "programming failed and is tried again"),
    "drift-ruleset": Kind("warning", "somebody changed our table of rules; it was put right"),
    "drift-routes": Kind("warning", "somebody changed routes of workloads; they were put right"),
    "drift-neighbours": Kind("warning", "somebody changed neighbour entries of workloads; they were put right"),
    "drift-sysctls": Kind("warning", "somebody changed settings of the kernel that Calico needs; they were put right"),
    "drift-gateways": Kind("warning", "somebody removed a gateway's address from lo; it was put right"),
    "drift-qdiscs": Kind("warning", "somebody changed what limits bandwidth; it was put right"),
    "drift-tunnels": Kind("warning", "somebody changed a tunnel's device, or what leads through it; it was put right"),
    "drift-fight": Kind(
        "error", "another program changes the same thing again and again: it is put right ever more slowly"
    ),
    "endpoint-error": Kind("error", "an endpoint could not be set up fully; it may lack connectivity"),
    "tunnel-incomplete": Kind(
        "error", "what should go through a tunnel to other hosts does not arrive; it is not sent in the open"
    ),
    "tunnel-address-missing": Kind(
        "error", "this host has no address in a tunnel network: other hosts are unreachable by it"
    ),
    "encryption-unavailable": Kind(
        "error",
        "this host is to encrypt and cannot: hosts that have a key are unreachable, nothing goes to them in the clear",
    ),
    "encryption-incomplete": Kind(
        "error", "what should be encrypted does not arrive; it is not sent in the clear, and tried again"
    ),
    "encryption-key-unpublished": Kind(
        "error", "other hosts do not know this host's key: they send to it in the clear, or not at all"
    ),
    "mtu-file-not-written": Kind("warning", "workloads that are attached get the MTU that the kernel chooses"),
    "flows-not-rechecked": Kind("error", "established flows that policy forbids may go on; it is tried again"),
    "config-invalid": Kind(
        "warning", "a configuration value was refused, the next lower source is used; or there is no such parameter"
    ),
    "config-without-effect": Kind("warning", "a parameter of Calico was given that changes nothing here"),
    "flow-logs-unavailable": Kind("warning", "flow logs are wanted and cannot be had; policy is enforced without them"),
    "flow-logs-incomplete": Kind("warning", "flow logs cannot be written to their file; the socket has them"),
    "status-files-not-written": Kind(
        "warning", "a CNI plugin that waits for the file of an endpoint does not see it; it is tried again"
    ),
    "listener-failed": Kind("warning", "health or metrics cannot be asked there; it is tried again"),
    "dhcp-incomplete": Kind(
        "warning", "an instance is not told all that was asked for by DHCP or router advertisements; the rest it is"
    ),
    "feature-missing": Kind("warning", "the kernel lacks a feature; a stated fallback is used"),
}


class Condition(msgspec.Struct, frozen=True, order=True):
    """One thing that is wrong: catalogue code, the object concerned, and a sentence."""

    code: str
    object: str
    message: str


class Conditions:
    """The conditions that hold now, keyed by (code, object)."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], str] = {}

    def set(self, code: str, subject: str, message: str) -> bool:
        """State that a condition holds; true when that is news. KeyError for a code not in the catalogue."""
        CATALOGUE[code]
        if self._held.get((code, subject)) == message:
            return False
        self._held[code, subject] = message
        return True

    def clear(self, code: str, subject: str) -> bool:
        """State that it holds no longer; true when that is news."""
        return self._held.pop((code, subject), None) is not None

    def replace(self, code: str, objects: dict[str, str]) -> None:
        """State exactly which objects a condition holds for."""
        for key in [key for key in self._held if key[0] == code and key[1] not in objects]:
            del self._held[key]
        for name, message in objects.items():
            self.set(code, name, message)

    def __iter__(self) -> Iterator[Condition]:
        return iter(sorted(Condition(code, name, text) for (code, name), text in self._held.items()))

    def as_data(self) -> list[dict[str, str]]:
        """For status documents."""
        return [
            {"code": c.code, "severity": CATALOGUE[c.code].severity, "object": c.object, "message": c.message}
            for c in self
        ]
