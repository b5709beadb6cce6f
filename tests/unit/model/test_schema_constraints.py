"""Every constraint of the published schemas is enforced, and what breaks it is named by its field."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from schema_rules import (
    KEYWORDS_WITHOUT_EFFECT,
    Place,
    base,
    breaking,
    constraints,
    dotted,
    faults,
    field_of,
    load,
    with_value,
    without,
)

from calico.model.codec import unknown_fields
from calico.model.defaults import with_defaults
from calico.model.encoding import to_stored
from calico.model.kinds import BY_KIND

SCHEMAS = {kind: schema for kind, schema in load().items() if kind in BY_KIND}
pytestmark = pytest.mark.skipif(not SCHEMAS, reason="the published schemas are absent")

ABSENT_IN_GO = {
    ("BGPConfiguration", "spec.listenPort", "minimum"): "0 is written as absent",
}
GO_WRITES_ZERO = {
    "spec.controllers",
    "status.runningConfig.controllers",
    "spec.failsafeInboundHostPorts.0.port",
    "spec.failsafeOutboundHostPorts.0.port",
    "spec.strictAffinity",
    "spec.autoAllocateBlocks",
    "spec.state",
    "spec.deleted",
    *(f"status.bgp.number{state}{family}" for state in ("Established", "NotEstablished") for family in ("V4", "V6")),
}
"""Required members that a client written in Go can only leave out by writing their zero, which is valid."""


def is_named(place: Place, found: list[str]) -> bool:
    """Whether a fault is at the place, within it, or (for types) at the place as decoding spells it."""
    wanted = field_of(place)
    spelled = "".join("[...]" if isinstance(step, int) else f".{step}" for step in place).lstrip(".")
    return any(field == spelled or field.startswith(wanted) for field in found)


@pytest.mark.parametrize("kind", SCHEMAS)
def test_the_least_document_of_each_kind_is_valid(kind: str) -> None:
    assert faults(base(kind)) == []


@pytest.mark.parametrize("kind", SCHEMAS)
def test_our_fields_are_those_of_the_schema(kind: str) -> None:
    missing = []
    for constraint in constraints(kind, SCHEMAS[kind]):
        if constraint.keyword == "type" and constraint.place:
            document = with_value(base(kind), constraint.place, None)
            missing += unknown_fields(document, BY_KIND[kind].cls)
    assert sorted(set(missing)) == []


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_value_that_breaks_a_constraint_is_refused_by_its_field(kind: str) -> None:
    let_through, judged = [], 0
    for constraint in constraints(kind, SCHEMAS[kind]):
        if (kind, dotted(constraint.place), constraint.keyword) in ABSENT_IN_GO:
            continue
        for place, value in breaking(constraint):
            at = constraint.place
            found = faults(with_value(base(kind), at, value))
            judged += 1
            if not is_named(place if isinstance(place[-1], str) else at, found):
                let_through.append(f"{constraint}: {str(value)[:60]!r}: {found[:3]}")
    assert judged > 0
    assert not let_through, "\n".join(let_through)


@pytest.mark.parametrize("kind", SCHEMAS)
def test_what_is_required_is_missed(kind: str) -> None:
    let_through = []
    for constraint in constraints(kind, SCHEMAS[kind]):
        if constraint.keyword != "required":
            continue
        for name in constraint.schema["required"]:
            place = (*constraint.place, name)
            if dotted(place) in GO_WRITES_ZERO or name == "message":
                continue
            found = faults(without(base(kind), constraint.place, name))
            if not (is_named(place, found) or is_named(constraint.place, found)):
                let_through.append(f"{dotted(place)}: {found}")
    assert not let_through, "\n".join(let_through)


@pytest.mark.parametrize("kind", SCHEMAS)
def test_defaults_of_the_schema_are_stored(kind: str) -> None:
    wrong = []
    for constraint in constraints(kind, SCHEMAS[kind]):
        if (
            constraint.keyword != "default"
            or constraint.schema["default"] in ("", 0)
            or constraint.place[0] == "status"
        ):
            continue
        *parents, name = constraint.place
        document = without(base(kind), tuple(parents), str(name))
        stored: Any = to_stored(with_defaults(msgspec.convert(document, BY_KIND[kind].cls)))
        for step in constraint.place:
            stored = stored[step]
        wanted = constraint.schema["default"]
        if stored != (str(wanted).lower() if kind == "BlockAffinity" else wanted):
            wrong.append(f"{dotted(constraint.place)}: {stored!r}")
    assert wrong == []


def test_no_keyword_of_the_schemas_is_forgotten() -> None:
    handled = {"default", "required", "x-kubernetes-validations"}
    for kind, schema in SCHEMAS.items():
        for constraint in constraints(kind, schema):
            if constraint.keyword not in handled and any(True for _ in breaking(constraint)):
                handled.add(constraint.keyword)
    used = {constraint.keyword for kind, schema in SCHEMAS.items() for constraint in constraints(kind, schema)}
    assert used - handled - set(KEYWORDS_WITHOUT_EFFECT) == set()
