"""Carries fields that our schema does not know from a stored object into what is to replace it.

Three documents are compared: the stored bytes, what they mean to us (``base``), and what is to be written. The fields
travel as the bytes they are, so that numbers too large for anybody stay what they were.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from calico.model.schema import MAX_DEPTH, shapes_of

__all__ = ["graft"]

Tree = dict[str, Any]
_MALFORMED = (msgspec.MsgspecError, ValueError, RecursionError)
_MOST_COMPARED = 1_000_000


def graft(stored: bytes | msgspec.Raw, base: object, new: Tree, cls: type, depth: int = MAX_DEPTH) -> None:
    """Put members of ``stored`` that ``cls`` does not know, and ``new`` lacks, into ``new`` (changed in place).

    ``base`` is ``stored`` as we would write it, or None where that is not known. An object or element that ``new``
    dropped is not brought back.
    """
    members = _decoded(stored, dict[str, msgspec.Raw])
    if members is None or not depth:
        return
    known = base if isinstance(base, dict) else {}
    shapes = shapes_of(cls)
    for name, value in members.items():
        shape = shapes.get(name)
        if shape is None:
            new.setdefault(name, _one_line(value))
        elif shape.cls is None:
            continue
        elif shape.kind == "object":
            _graft_object(name, value, known.get(name), new, shape.cls, depth - 1)
        elif isinstance(inner := new.get(name), list):
            _graft_list(value, known.get(name), inner, shape.cls, depth - 1)


def _graft_object(name: str, stored: msgspec.Raw, base: object, new: Tree, cls: type, depth: int) -> None:
    """An object that held nothing we know was not written back; it returns with what it holds."""
    inner = new.get(name)
    if isinstance(inner, dict):
        graft(stored, base, inner, cls, depth)
    elif name not in new and not base:
        revived: Tree = {}
        graft(stored, None, revived, cls, depth)
        if revived:
            new[name] = revived


def _graft_list(stored: msgspec.Raw, base: object, new: list[Any], cls: type, depth: int) -> None:
    items = _decoded(stored, list[msgspec.Raw])
    if items is None or not isinstance(base, list) or len(items) != len(base):
        return
    for source, target in _same_elements(base, new):
        if isinstance(new[target], dict):
            graft(items[source], base[source], new[target], cls, depth)


def _same_elements(base: list[Any], new: list[Any]) -> list[tuple[int, int]]:
    """Which element of ``new`` is which of ``base``: equal ones first, then, in order, those that were edited."""
    before, after = list(map(_spelled, base)), list(map(_spelled, new))
    pairs = _at_the_ends(before, after)
    free = _free(before, {source for source, _ in pairs})
    unpaired = _free(after, {target for _, target in pairs})
    places: dict[bytes, deque[int]] = {}
    for source in free:
        places.setdefault(before[source], deque()).append(source)
    for target in unpaired:
        if found := places.get(after[target]):
            pairs.append((found.popleft(), target))
    free = _free(before, {source for source, _ in pairs})
    unpaired = _free(after, {target for _, target in pairs})
    return pairs + _edited(base, new, free, unpaired)


def _at_the_ends(before: list[bytes], after: list[bytes]) -> list[tuple[int, int]]:
    """Equal elements at the head and at the tail: most changes are in one place."""
    most = min(len(before), len(after))
    head = next((at for at in range(most) if before[at] != after[at]), most)
    tail = next((at for at in range(most - head) if before[-1 - at] != after[-1 - at]), most - head)
    pairs = [(at, at) for at in range(head)]
    return pairs + [(len(before) - 1 - at, len(after) - 1 - at) for at in range(tail)]


def _free(elements: list[bytes], taken: set[int]) -> list[int]:
    return [at for at in range(len(elements)) if at not in taken]


def _edited(base: list[Any], new: list[Any], free: list[int], unpaired: list[int]) -> list[tuple[int, int]]:
    """As many as there were: each in its place. Otherwise each is the next one that it resembles."""
    if len(free) == len(unpaired):
        return [pair for pair in zip(free, unpaired, strict=True) if _resemble(base[pair[0]], new[pair[1]])]
    if len(free) * len(unpaired) > _MOST_COMPARED:
        return []
    pairs = []
    begin = 0
    for target in unpaired:
        for at in range(begin, len(free)):
            if _resemble(base[free[at]], new[target]):
                pairs.append((free[at], target))
                begin = at + 1
                break
    return pairs


def _resemble(one: object, other: object) -> bool:
    """At least half of the members are the same; with fewer it is another element in the same place."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return False
    names = one.keys() | other.keys()
    same = sum(name in one and name in other and one[name] == other[name] for name in names)
    return bool(names) and 2 * same >= len(names)


def _spelled(element: object) -> bytes:
    return msgspec.json.encode(element, order="deterministic")


def _decoded(raw: bytes | msgspec.Raw, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except _MALFORMED:
        return None


def _one_line(value: msgspec.Raw) -> msgspec.Raw:
    """The same value without line breaks, which only stand between tokens, and in valid UTF-8."""
    text = bytes(value).translate(None, b"\r\n\t")
    return msgspec.Raw(text.decode(errors="replace").encode())
