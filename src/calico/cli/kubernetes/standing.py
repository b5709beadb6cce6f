"""How Calico does in a cluster, judged from what the API server and the datastore hold. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

__all__ = ["Line", "judge_lease", "judge_nodes", "judge_pods", "judge_policies"]


class Line(msgspec.Struct, frozen=True):
    """One thing that was looked at; ``good`` is False when somebody has to do something."""

    what: str
    good: bool
    said: str


def judge_lease(lease: Mapping[str, Any] | None, now_s: float) -> Line:
    """Whether a leader renews its Lease; ``now_s`` is the time of day, seconds since 1970."""
    if lease is None:
        return Line("controllers", False, "nobody ever led: run calico kubernetes controllers")
    spec = lease.get("spec") or {}
    holder, text = spec.get("holderIdentity") or "", str(spec.get("renewTime") or "")
    if not holder:
        return Line("controllers", False, "nobody leads")
    try:
        renewed = datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC).timestamp()
    except ValueError:
        return Line("controllers", False, f"{holder} leads, since when cannot be read: {text!r}")
    age, lasts = now_s - renewed, float(spec.get("leaseDurationSeconds") or 15)
    if age > 2 * lasts:
        return Line("controllers", False, f"{holder} led, but has been silent for {age:.0f} s")
    return Line("controllers", True, f"{holder} leads")


def judge_nodes(nodes: Iterable[Mapping[str, Any]], known: Iterable[str]) -> list[Line]:
    """Each node: whether Calico has its Node, and what its conditions say of the network."""
    there = set(known)
    lines = []
    for node in sorted(nodes, key=lambda node: str(node["metadata"]["name"])):
        name = str(node["metadata"]["name"])
        conditions = {entry.get("type"): entry for entry in (node.get("status") or {}).get("conditions") or ()}
        wrong = [] if name in there else ["Calico has no Node of this name"]
        network = conditions.get("NetworkUnavailable") or {}
        if network.get("status") == "True":
            wrong.append(f"NetworkUnavailable: {network.get('message') or network.get('reason') or ''}")
        ready = conditions.get("Ready") or {}
        if ready.get("status") != "True":
            wrong.append(f"not Ready: {ready.get('message') or ready.get('reason') or 'nobody says so'}")
        lines.append(Line(f"node {name}", not wrong, "; ".join(wrong) or "ready"))
    return lines


def judge_policies(policies: Iterable[tuple[str, str]], stored: Iterable[tuple[str, str]]) -> Line:
    """Whether each NetworkPolicy (namespace, name) has its copy, and no copy is without its NetworkPolicy."""
    wanted = {(namespace, f"knp.default.{name}") for namespace, name in policies}
    found = {key for key in stored if key[1].startswith("knp.default.")}
    return _compared("policies", "NetworkPolicies", wanted, found)


def judge_pods(pods: Iterable[Mapping[str, Any]], stored: Iterable[tuple[str, str]]) -> Line:
    """Whether each running pod with an address of its own has an endpoint (namespace, pod), and no other has one."""
    wanted, allowed = set(), set()
    for pod in pods:
        spec, status = pod.get("spec") or {}, pod.get("status") or {}
        if spec.get("hostNetwork") or not spec.get("nodeName"):
            continue
        key = (str(pod["metadata"].get("namespace")), str(pod["metadata"]["name"]))
        allowed.add(key)
        if status.get("podIP") and status.get("phase") == "Running":
            wanted.add(key)
    found = set(stored)
    return _compared("pods", "running pods", wanted, found - (allowed - wanted))


def _compared(what: str, many: str, wanted: set[tuple[str, str]], found: set[tuple[str, str]]) -> Line:
    missing, extra = sorted(wanted - found), sorted(found - wanted)
    said = [f"{len(wanted)} {many}"]
    if missing:
        said.append(f"not in the datastore: {_some(missing)}")
    if extra:
        said.append(f"only in the datastore: {_some(extra)}")
    return Line(what, not missing and not extra, "; ".join(said))


def _some(keys: Sequence[tuple[str, str]]) -> str:
    names = ", ".join("/".join(key) for key in keys[:3])
    return f"{names} and {len(keys) - 3} more" if len(keys) > 3 else names
