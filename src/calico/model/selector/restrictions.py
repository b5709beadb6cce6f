"""What a selector requires of single labels: necessary, not sufficient conditions, used to index selectors by label."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from calico.model.selector import nodes
from calico.model.selector.nodes import Node

__all__ = ["Restriction", "label_restrictions"]


class Restriction(msgspec.Struct, frozen=True):
    """A necessary condition on one label. ``values`` None: any value; an empty set: nothing can match."""

    must_be_present: bool = False
    must_be_absent: bool = False
    values: frozenset[str] | None = None


_PRESENT = Restriction(must_be_present=True)
_ABSENT = Restriction(must_be_absent=True)
_NOTHING = Restriction()


def label_restrictions(node: Node) -> Mapping[str, Restriction]:
    """Restrictions by label; labels without any are left out."""
    match node:
        case nodes.Equal(label, value):
            return {label: Restriction(must_be_present=True, values=frozenset((value,)))}
        case nodes.In(label, values):
            return {label: Restriction(must_be_present=True, values=frozenset(values))}
        case nodes.Has(label) | nodes.Contains(label) | nodes.StartsWith(label) | nodes.EndsWith(label):
            return {label: _PRESENT}
        case nodes.Not(nodes.Has(label)):
            return {label: _ABSENT}
        case nodes.And(operands):
            return _all_of([label_restrictions(operand) for operand in operands])
        case nodes.Or(operands):
            return _any_of([label_restrictions(operand) for operand in operands])
        case _:
            return {}


def _all_of(parts: list[Mapping[str, Restriction]]) -> Mapping[str, Restriction]:
    merged: dict[str, Restriction] = {}
    for part in parts:
        for label, restriction in part.items():
            merged[label] = _both(merged[label], restriction) if label in merged else restriction
    return merged


def _any_of(parts: list[Mapping[str, Restriction]]) -> Mapping[str, Restriction]:
    merged = dict(parts[0])
    for part in parts[1:]:
        merged = {label: _either(merged[label], part[label]) for label in merged if label in part}
    return {label: restriction for label, restriction in merged.items() if restriction != _NOTHING}


def _both(one: Restriction, other: Restriction) -> Restriction:
    values = one.values
    if other.values is not None:
        values = other.values if values is None else values & other.values
    return Restriction(
        must_be_present=one.must_be_present or other.must_be_present,
        must_be_absent=one.must_be_absent or other.must_be_absent,
        values=values,
    )


def _either(one: Restriction, other: Restriction) -> Restriction:
    return Restriction(
        must_be_present=one.must_be_present and other.must_be_present,
        must_be_absent=one.must_be_absent and other.must_be_absent,
        values=None if one.values is None or other.values is None else one.values | other.values,
    )
