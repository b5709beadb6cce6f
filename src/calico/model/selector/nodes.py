"""The syntax tree of a selector: immutable nodes that compare by value.

Invariants kept by the parser: ``And``/``Or`` have at least two operands, ``Not`` never holds a ``Not``, set values are
sorted and distinct. Nodes are made by the parser and by ``with_prefix``; whoever makes others keeps the invariants.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

__all__ = [
    "All",
    "And",
    "Contains",
    "EndsWith",
    "Equal",
    "Global",
    "Has",
    "In",
    "Node",
    "Not",
    "NotEqual",
    "NotIn",
    "Or",
    "StartsWith",
]


class _Node(msgspec.Struct, frozen=True, tag=True, cache_hash=True):
    pass


class All(_Node, frozen=True, tag=True, cache_hash=True):
    """``all()``: every label map."""


class Global(_Node, frozen=True, tag=True, cache_hash=True):
    """``global()``: true as an expression; as a whole namespace selector it means "no namespace"."""


class Has(_Node, frozen=True, tag=True, cache_hash=True):
    """``has(label)``."""

    label: str


class Equal(_Node, frozen=True, tag=True, cache_hash=True):
    """``label == "value"``; false when the label is missing."""

    label: str
    value: str


class NotEqual(_Node, frozen=True, tag=True, cache_hash=True):
    """``label != "value"``; true when the label is missing."""

    label: str
    value: str


class Contains(_Node, frozen=True, tag=True, cache_hash=True):
    """``label contains "value"``; false when the label is missing."""

    label: str
    value: str


class StartsWith(_Node, frozen=True, tag=True, cache_hash=True):
    """``label starts with "value"``; false when the label is missing."""

    label: str
    value: str


class EndsWith(_Node, frozen=True, tag=True, cache_hash=True):
    """``label ends with "value"``; false when the label is missing."""

    label: str
    value: str


class In(_Node, frozen=True, tag=True, cache_hash=True):
    """``label in {"a", "b"}``; false when the label is missing."""

    label: str
    values: tuple[str, ...]


class NotIn(_Node, frozen=True, tag=True, cache_hash=True):
    """``label not in {"a", "b"}``; true when the label is missing."""

    label: str
    values: tuple[str, ...]


class Not(_Node, frozen=True, tag=True, cache_hash=True):
    """``!operand``."""

    operand: Node


class And(_Node, frozen=True, tag=True, cache_hash=True):
    """All operands match."""

    operands: tuple[Node, ...]


class Or(_Node, frozen=True, tag=True, cache_hash=True):
    """At least one operand matches."""

    operands: tuple[Node, ...]


Node: TypeAlias = All | Global | Has | Equal | NotEqual | Contains | StartsWith | EndsWith | In | NotIn | Not | And | Or
