"""The fields of resource classes, as data: finds fields that are not in the schema and carries them over.

Objects may hold fields of newer versions of Calico. A person's typo must be refused (``unknown_fields``), and a
read-modify-write of ours must not lose what a newer writer stored (``graft_unknown``).
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import msgspec
from msgspec.inspect import (
    CollectionType,
    FrozenSetType,
    ListType,
    SetType,
    StructType,
    Type,
    UnionType,
    VarTupleType,
    type_info,
)

__all__ = ["graft_unknown", "unknown_fields"]

MAX_DEPTH = 64
"""Deeper than any schema; hostile nesting below it is not looked at."""


class Shape(msgspec.Struct, frozen=True):
    """How to go on inside a field: into an object of ``cls``, into a list of such, or (``free``) not at all."""

    kind: Literal["object", "list", "free"]
    cls: type | None = None


_FREE = Shape("free")


@cache
def _shapes(cls: type) -> dict[str, Shape]:
    """The fields of a struct class by JSON name."""
    info = type_info(cls)
    assert isinstance(info, StructType)
    return {field.encode_name: _shape(field.type) for field in info.fields}


def _shape(kind: Type) -> Shape:
    if isinstance(kind, UnionType):
        return next((shape for shape in map(_shape, kind.types) if shape is not _FREE), _FREE)
    if isinstance(kind, StructType):
        return Shape("object", kind.cls)
    if isinstance(kind, ListType | SetType | FrozenSetType | VarTupleType | CollectionType):
        inner = _shape(kind.item_type)
        return Shape("list", inner.cls) if inner.kind == "object" else _FREE
    return _FREE


def unknown_fields(raw: object, cls: type) -> list[str]:
    """Paths (``spec.ingress[0].sorce``) of fields in a parsed document that ``cls`` does not know, in order."""
    found: list[str] = []
    _collect(raw, cls, "", found, MAX_DEPTH)
    return found


def _collect(raw: object, cls: type, path: str, found: list[str], depth: int) -> None:
    if not isinstance(raw, dict) or not depth:
        return
    shapes = _shapes(cls)
    for name, value in raw.items():
        here = f"{path}.{name}" if path else str(name)
        shape = shapes.get(name)
        if shape is None:
            found.append(here)
        elif shape.kind == "object" and shape.cls is not None:
            _collect(value, shape.cls, here, found, depth - 1)
        elif shape.kind == "list" and shape.cls is not None and isinstance(value, list | tuple):
            for index, item in enumerate(value):
                _collect(item, shape.cls, f"{here}[{index}]", found, depth - 1)


def graft_unknown(original: object, new: object, cls: type, depth: int = MAX_DEPTH) -> None:
    """Put fields of ``original`` that ``cls`` does not know, and ``new`` lacks, into ``new`` (changed in place).

    Elements of lists are paired only when they agree in everything known, so that an unknown field of a changed rule
    never ends up on another rule.
    """
    if not isinstance(original, dict) or not isinstance(new, dict) or not depth:
        return
    shapes = _shapes(cls)
    for name, value in original.items():
        shape = shapes.get(name)
        if shape is None:
            new.setdefault(name, value)
        elif shape.cls is None or not unknown_fields({name: value}, cls):
            continue
        elif shape.kind == "object":
            if name not in new and isinstance(value, dict):
                _graft_into_absent(value, new, name, shape.cls, depth)
            else:
                graft_unknown(value, new.get(name), shape.cls, depth - 1)
        elif isinstance(value, list) and isinstance(new.get(name), list):
            _graft_lists(value, new[name], shape.cls, depth - 1)


def _graft_into_absent(value: dict[str, Any], new: dict[str, Any], name: str, cls: type, depth: int) -> None:
    """An object that held only unknown fields was not written back; an object dropped on purpose stays away."""
    if not _known_part(value, cls, depth - 1):
        new[name] = value


def _graft_lists(original: list[Any], new: list[Any], cls: type, depth: int) -> None:
    left = [(_known_part(item, cls, depth), item) for item in original]
    for item in new:
        known = _known_part(item, cls, depth)
        for index, (candidate, source) in enumerate(left):
            if candidate == known:
                graft_unknown(source, item, cls, depth)
                del left[index]
                break


def _known_part(value: object, cls: type, depth: int) -> object:
    """The value without unknown fields and without what equals absence, for comparing."""
    if not isinstance(value, dict) or not depth:
        return value
    shapes = _shapes(cls)
    known: dict[str, object] = {}
    for name, inner in value.items():
        shape = shapes.get(name)
        if shape is None or inner is None:
            continue
        if shape.kind == "object" and shape.cls is not None:
            inner = _known_part(inner, shape.cls, depth - 1)
        elif shape.kind == "list" and shape.cls is not None and isinstance(inner, list):
            inner = [_known_part(item, shape.cls, depth - 1) for item in inner]
        if inner not in ({}, [], "", 0, False):
            known[name] = inner
    return known
