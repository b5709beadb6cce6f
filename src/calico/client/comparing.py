"""What differs between two states of a resource, as it is meant and not as it is spelled. Pure.

Defaults are filled in; identity and times are left out; selectors and networks are compared in canonical form; lists of
names, networks or ports are sets, except profiles, which are tried in order. Rules keep their order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Any, Literal

import msgspec

from calico.errors import InvalidInput
from calico.lib import packed
from calico.model.defaults import with_defaults
from calico.model.encoding import to_stored
from calico.model.meta import Resource
from calico.model.selector import parse

__all__ = ["Change", "Difference", "compare"]

Verdict = Literal["created", "changed", "deleted", "unchanged"]

_IDENTITY = ("uid", "resourceVersion", "creationTimestamp", "generateName", "name", "namespace")
_ORDERED = ("profiles",)
_NETWORKS = ("nets", "notNets", "expectedIPs", "ipNetworks", "allowSpoofedSourcePrefixes")


class Change(msgspec.Struct, frozen=True):
    """One place: what stands there before and after; None: nothing."""

    path: str
    before: Any
    after: Any


class Difference(msgspec.Struct, frozen=True):
    """What becomes of one resource."""

    kind: str
    namespace: str
    name: str
    verdict: Verdict
    changes: tuple[Change, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


def compare(before: Resource | None, after: Resource | None) -> Difference:
    """The difference from ``before`` to ``after``; ValueError when there is neither."""
    some = after if after is not None else before
    if some is None:
        raise ValueError("nothing to compare")
    changes = tuple(_changes("", _meaning(before), _meaning(after)))
    verdict: Verdict
    if before is None:
        verdict = "created"
    elif after is None:
        verdict = "deleted"
    else:
        verdict = "changed" if changes else "unchanged"
    kind = some.kind or type(some).__name__
    return Difference(kind, some.metadata.namespace, some.metadata.name, verdict, changes)


def _meaning(resource: Resource | None) -> dict[str, Any]:
    if resource is None:
        return {}
    data = to_stored(with_defaults(resource))  # with the labels that writing derives
    metadata = {name: value for name, value in data.get("metadata", {}).items() if name not in _IDENTITY}
    body = {name: value for name, value in data.items() if name not in ("kind", "apiVersion", "metadata")}
    return _normal("", {"metadata": metadata, **body}) or {}


def _normal(name: str, value: Any) -> Any:
    """The value in canonical form; None for what is empty."""
    if isinstance(value, dict):
        items = {key: _normal(key, inner) for key, inner in value.items()}
        return {key: inner for key, inner in items.items() if inner is not None} or None
    if isinstance(value, list | tuple):
        found = [inner for inner in (_normal(name, item) for item in value) if inner is not None]
        if found and name not in _ORDERED and not any(isinstance(item, dict | list) for item in found):
            found.sort(key=_text)
        return found or None
    if isinstance(value, str):
        return _normal_text(name, value) if value else None
    return value


def _normal_text(name: str, value: str) -> str:
    try:
        if name.lower().endswith("selector"):
            return parse(value).canonical
        if name in _NETWORKS:
            return packed.net_str(packed.net(value, strict=False))
    except (InvalidInput, ValueError):
        pass
    return value


def _changes(path: str, before: Any, after: Any) -> Iterator[Change]:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys([*before, *after]):
            yield from _changes(f"{path}.{name}" if path else name, before.get(name), after.get(name))
    elif isinstance(before, list) and isinstance(after, list):
        yield from _list_changes(path, before, after)
    elif isinstance(before, dict) and after is None and not path.count("."):
        yield from _changes(path, before, {})
    elif isinstance(after, dict) and before is None and not path.count("."):
        yield from _changes(path, {}, after)
    else:
        yield Change(path, before, after)


def _list_changes(path: str, before: list[Any], after: list[Any]) -> Iterator[Change]:
    """By what was put in or taken out, so that a rule inserted first does not change all that follow."""
    matcher = SequenceMatcher(None, [_text(item) for item in before], [_text(item) for item in after], autojunk=False)
    for tag, left, left_end, right, right_end in matcher.get_opcodes():
        if tag == "equal":
            continue
        pairs = min(left_end - left, right_end - right)
        for offset in range(pairs):
            yield from _changes(f"{path}[{right + offset}]", before[left + offset], after[right + offset])
        for index in range(left + pairs, left_end):
            yield Change(f"{path}[{index}]", before[index], None)
        for index in range(right + pairs, right_end):
            yield Change(f"{path}[{index}]", None, after[index])


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
