"""The fields of resource classes, as data, and which fields of a document are not among them.

Objects may hold fields of newer versions of Calico. A person's typo must be refused (``unknown_fields``); what a newer
writer stored is carried over by ``grafting``.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

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

__all__ = ["MAX_DEPTH", "Shape", "shapes_of", "unknown_fields"]

MAX_DEPTH = 64
"""Deeper than any schema; hostile nesting below it is not looked at."""


class Shape(msgspec.Struct, frozen=True):
    """How to go on inside a field: into an object of ``cls``, into a list of such, or (``free``) not at all."""

    kind: Literal["object", "list", "free"]
    cls: type | None = None


_FREE = Shape("free")


@cache
def shapes_of(cls: type) -> dict[str, Shape]:
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
    shapes = shapes_of(cls)
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
