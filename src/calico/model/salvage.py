"""What can be saved of a stored object whose JSON does not fit its kind (decision 5).

Damage is found member by member. What decides whom an object governs must be readable, or the object is absent; rules
that cannot be read deny; the rest is left out. Everything left out is named.
"""

from __future__ import annotations

import json
import math
from typing import Any, TypeVar

import msgspec

from calico.model.hostendpoint import HostEndpoint
from calico.model.meta import Metadata, Resource
from calico.model.policy import GlobalNetworkPolicy, GlobalNetworkSet, NetworkPolicy, NetworkSet, Profile, Tier
from calico.model.qos import QoSControls
from calico.model.staged import StagedGlobalNetworkPolicy, StagedNetworkPolicy
from calico.model.workload import WorkloadEndpoint

__all__ = ["DENIES", "MALFORMED", "Policy", "salvage"]

MAX_DEPTH = 64
_LONGEST_NUMBER = 100
MALFORMED = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)
"""What decoding raises on bytes that are not what they should be."""

R = TypeVar("R", bound=Resource)
Policy = NetworkPolicy | GlobalNetworkPolicy | StagedNetworkPolicy | StagedGlobalNetworkPolicy
Tree = dict[str, Any]
Problems = tuple[str, ...]

_DENY: list[Any] = [{"action": "Deny"}]
DENIES = "rules cannot be read, everything is denied"
"""How problems begin whose policy or profile got rules that deny."""
_LABELS_DECIDE_NOTHING = (Policy, Profile, Tier)


def salvage(cls: type[R], raw: bytes) -> tuple[R | None, Problems]:
    """The object with null members taken as absent, else with its damaged members replaced; None if that is no use."""
    try:
        tree = _parsed(raw)
    except MALFORMED as malformed:
        return None, (f"not JSON: {reason(malformed)}",)
    tree = _without_nulls(tree, MAX_DEPTH)
    if not isinstance(tree, dict):
        return None, ("not a JSON object",)
    try:
        return msgspec.convert(tree, cls), ()
    except MALFORMED as error:
        problem = reason(error)
    mended, problems = _mended(cls, tree)
    try:
        return msgspec.convert(mended, cls), problems or (problem,)
    except MALFORMED as error:
        return None, (*problems, reason(error))


def reason(error: Exception) -> str:
    """Why something could not be read, in bounds."""
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:300]


def _parsed(raw: bytes) -> Any:
    """Any JSON, as Go reads it: what is no Unicode is replaced, and no number is too large."""
    try:
        return msgspec.json.decode(raw)
    except RecursionError:
        raise
    except MALFORMED:
        text = raw.decode(errors="replace")
        return json.loads(text, parse_int=_number, parse_float=_number, parse_constant=_no_constant)


def _number(text: str) -> float | bytes:
    """The number, or what no field takes in place of one that fits nowhere."""
    if len(text) > _LONGEST_NUMBER:
        return b""
    number = int(text) if text.lstrip("-").isdigit() else float(text)
    return number if math.isfinite(number) else b""


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _without_nulls(value: Any, depth: int) -> Any:
    """The tree without null members; Go reads null as absent. What is nested deeper than any schema is cut off."""
    if isinstance(value, dict):
        if not depth:
            return {}
        return {
            _without_surrogates(name): _without_nulls(inner, depth - 1)
            for name, inner in value.items()
            if inner is not None
        }
    if isinstance(value, list):
        return [_without_nulls(inner, depth - 1) for inner in value] if depth else []
    return _without_surrogates(value) if isinstance(value, str) else value


def _without_surrogates(text: str) -> str:
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _mended(cls: type[Resource], tree: Tree) -> tuple[Tree, Problems]:
    problems: Problems = ()
    tree = dict(tree)
    if why := _fault(cls, {"status": tree.get("status", {})}):
        del tree["status"]
        problems += (f"status: {why}; left out",)
    if issubclass(cls, _LABELS_DECIDE_NOTHING) and isinstance(tree.get("metadata"), dict):
        tree["metadata"], found = _mended_metadata(tree["metadata"])
        problems += found
    spec = tree.get("spec")
    if not isinstance(spec, dict) or not _fault(cls, {"spec": spec}):
        return tree, problems
    if issubclass(cls, Policy):
        tree["spec"], found = _mended_policy(cls, spec)
    elif issubclass(cls, Profile):
        tree["spec"] = {**spec, "ingress": _DENY, "egress": _DENY}
        found = (f"{DENIES}: {_fault(cls, {'spec': spec})}",)
    elif issubclass(cls, NetworkSet | GlobalNetworkSet) and isinstance(spec.get("nets"), list):
        tree["spec"] = {**spec, "nets": [net for net in spec["nets"] if isinstance(net, str)]}
        found = (f"spec.nets: entries that are no text were left out: {_fault(cls, {'spec': spec})}",)
    elif issubclass(cls, WorkloadEndpoint) and isinstance(spec.get("qosControls"), dict):
        limits, found = _good_members(QoSControls, spec["qosControls"], "spec.qosControls")
        tree["spec"] = {**spec, "qosControls": limits}
    elif issubclass(cls, HostEndpoint):
        left = {name: _texts(spec.get(name)) for name in ("expectedIPs", "profiles")}
        tree["spec"] = {**spec, **left, "ports": []}
        found = (f"what cannot be read was left out: {_fault(cls, {'spec': spec})}",)
    else:
        found = ()
    return tree, problems + found


def _mended_policy(cls: type[Resource], spec: Tree) -> tuple[Tree, Problems]:
    """Rules in either direction that cannot be read deny in both; unreadable types are all types, and deny, too."""
    problems: Problems = ()
    mended = dict(spec)
    for name in ("ingress", "egress", "types"):
        if why := _fault(cls, {"spec": {name: spec.get(name, [])}}):
            mended.update(ingress=_DENY, egress=_DENY)
            problems += (f"{DENIES}: {why}",)
            if name == "types":
                del mended["types"]
    if why := _fault(cls, {"spec": {"performanceHints": spec.get("performanceHints", [])}}):
        del mended["performanceHints"]
        problems += (f"spec.performanceHints: {why}; left out",)
    return mended, problems


def _mended_metadata(metadata: Tree) -> tuple[Tree, Problems]:
    """Without unreadable members, and of labels and annotations without those that are no text."""
    problems: Problems = ()
    mended = dict(metadata)
    for name in ("labels", "annotations"):
        if isinstance(given := metadata.get(name), dict):
            mended[name] = {key: value for key, value in given.items() if isinstance(value, str)}
            problems += tuple(
                f"metadata.{name}[{key[:64]}]: no text; left out" for key in given if key not in mended[name]
            )
    good, found = _good_members(Metadata, mended, "metadata")
    return good, problems + found


def _texts(value: Any) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _good_members(cls: type[msgspec.Struct], given: Tree, where: str) -> tuple[Tree, Problems]:
    """The members of an object that can be read on their own, and what is wrong with the others."""
    bad = {name: why for name, value in given.items() if (why := _fault(cls, {name: value}))}
    good = {name: value for name, value in given.items() if name not in bad}
    return good, tuple(f"{where}.{name}: {why}; left out" for name, why in bad.items())


def _fault(cls: type[msgspec.Struct], tree: Tree) -> str:
    """Why a document cannot be read as a struct, or empty."""
    try:
        msgspec.convert(tree, cls)
    except MALFORMED as error:
        return reason(error)
    return ""
