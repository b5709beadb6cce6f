"""The published schemas as a list of constraints, and documents that break each (read in place, for tests)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from calico.model.defaults import with_defaults
from calico.model.kinds import BY_KIND
from calico.model.validation import validate

SCHEMAS_FILE = Path(__file__).resolve().parents[3].parent / "shared" / "conformance" / "schema_constraints.json"

Schema = dict[str, Any]
Document = dict[str, Any]
Place = tuple[str | int, ...]
"""How to get somewhere: names of members, and 0 for the first element of a list."""

BASES: dict[str, Document] = {
    "BGPFilter": {},
    "BlockAffinity": {"state": "confirmed", "node": "n", "cidr": "10.0.0.0/26"},
    "CalicoNodeStatus": {"node": "n", "classes": ["BGP"], "updatePeriodSeconds": 10},
    "HostEndpoint": {"node": "n", "interfaceName": "eth0"},
    "IPPool": {"cidr": "10.0.0.0/16"},
}
"""The least that makes a spec valid; nothing, where a kind is not named."""

NAMES = dict.fromkeys(("ClusterInformation", "IPAMConfiguration", "KubeControllersConfiguration"), "default")

_ELEMENTS: list[tuple[re.Pattern[str], Document]] = [
    (re.compile(r"(?!StagedKubernetes).*\.spec\.(in|e)gress\.0"), {"action": "Allow"}),
    (re.compile(r".*\.spec\.(ex|im)portV[46]\.0"), {"action": "Accept"}),
    (re.compile(r"HostEndpoint\.spec\.ports\.0"), {"name": "http", "protocol": "TCP", "port": 80}),
    (
        re.compile(r".*\.status\.conditions\.0"),
        {
            "type": "Ready",
            "status": "True",
            "reason": "Fine",
            "message": "",
            "lastTransitionTime": "2026-08-22T13:33:20Z",
        },
    ),
]
"""What an object must hold before anything else in it is looked at."""


class Constraint(NamedTuple):
    """One keyword of the schema of one value."""

    kind: str
    place: Place
    keyword: str
    schema: Schema
    parent: Schema

    def __str__(self) -> str:
        return f"{self.kind}.{dotted(self.place)} {self.keyword}"


def load() -> dict[str, Schema]:
    """Schema by kind; empty where the file is absent."""
    if not SCHEMAS_FILE.exists():
        return {}
    return {kind: crd["schema"] for kind, crd in json.loads(SCHEMAS_FILE.read_text())["crds"].items()}


def constraints(kind: str, schema: Schema) -> Iterator[Constraint]:
    """Every keyword of spec and status, outermost first."""
    for part in ("spec", "status"):
        if part in schema["properties"]:
            yield from _walk(kind, (part,), schema["properties"][part], {})
    for rule in schema.get("x-kubernetes-validations", ()):
        yield Constraint(kind, (), "x-kubernetes-validations", {"x-kubernetes-validations": [rule]}, {})


def _walk(kind: str, place: Place, schema: Schema, parent: Schema) -> Iterator[Constraint]:
    for keyword in schema:
        if keyword not in ("properties", "items", "additionalProperties"):
            yield Constraint(kind, place, keyword, schema, parent)
    for name, inner in schema.get("properties", {}).items():
        yield from _walk(kind, (*place, name), inner, schema)
    if "items" in schema:
        yield from _walk(kind, (*place, 0), schema["items"], schema)


def faults(document: Document) -> list[str]:
    """The fields that are refused, by the whole way of a write: decoding, defaults, validation."""
    cls = BY_KIND[document["kind"]].cls
    try:
        resource = msgspec.convert(document, cls)
    except msgspec.ValidationError as error:
        return [str(error).rpartition("`$.")[2].rstrip("`") if "`$." in str(error) else "$"]
    return [error.field for error in validate(with_defaults(resource))]


def dotted(place: Place) -> str:
    return ".".join(map(str, place))


def field_of(place: Place) -> str:
    """The place as validation names it: ``spec.ingress[0].action``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).lstrip(".")


def base(kind: str, name: str = "") -> Document:
    """A valid document."""
    document: Document = {"kind": kind, "metadata": {"name": name or NAMES.get(kind, "x")}}
    document["spec"] = deepcopy(BASES.get(kind, {}))
    return document


def with_value(document: Document, place: Place, value: Any) -> Document:
    """A copy with a value at a place; what is on the way is made where it is missing."""
    document = deepcopy(document)
    at: Any = document
    for depth, step in enumerate(place[:-1]):
        inner: Any = [] if isinstance(place[depth + 1], int) else _element(document["kind"], place[: depth + 1])
        at = _into(at, step, inner)
    _put(at, place[-1], value)
    return document


def without(document: Document, place: Place, name: str) -> Document:
    """A copy in which the object at a place is there and has no member of that name."""
    document = with_value(document, place, {**_element(document["kind"], place), **(_at(document, place) or {})})
    _at(document, place).pop(name, None)
    return document


def _element(kind: str, place: Place) -> Document:
    where = f"{kind}.{dotted(place)}"
    return deepcopy(next((fields for pattern, fields in _ELEMENTS if pattern.fullmatch(where)), {}))


def _into(at: Any, step: str | int, inner: Any) -> Any:
    if isinstance(step, int):
        if not at:
            at.append(inner)
        return at[0]
    return at.setdefault(step, inner)


def _put(at: Any, step: str | int, value: Any) -> None:
    if isinstance(step, int):
        at[:1] = [value]
    else:
        at[step] = value


def _at(document: Document, place: Place) -> Any:
    at: Any = document
    for step in place:
        if not at:
            return None
        at = at[0] if isinstance(step, int) else at.get(step)
    return at


def sample(schema: Schema, number: int = 0) -> Any:
    """A value of a schema; another one for another number where that is possible."""
    if "enum" in schema:
        return schema["enum"][number % len(schema["enum"])]
    kind = schema.get("type", "integer" if "anyOf" in schema else "string")
    if kind == "integer":
        return max(1, schema.get("minimum", 1)) + number
    if kind == "boolean":
        return bool(number % 2)
    if kind == "array":
        return [sample(schema["items"], number)]
    if kind == "object":
        required = schema.get("required", ())
        return {name: sample(schema["properties"][name], number) for name in required}
    return f"10.{number >> 8}.{number & 255}.0/24"


_WRONG_TYPE: dict[str, tuple[Any, ...]] = {
    "string": (5, {}, []),
    "integer": ({}, [], 1.5, True),
    "number": ({}, "high"),
    "boolean": ("yes", 1),
    "array": ("text", {}, 5),
    "object": ("text", [], 5),
}

_TEXTS = (
    "!",
    "not this",
    "x" * 400,
    "5",
    "-5s",
    "10 s",
    "99999:1:2:3",
    "a:b",
    "::",
    "1:",
    "65536:1",
    "0x1:2",
    "\n",
    "ä",
)


def breaking(constraint: Constraint) -> Iterator[tuple[Place, Any]]:
    """Values that do not keep to a constraint, and where they are put. Nothing for what constrains nothing."""
    schema, place, keyword = constraint.schema, constraint.place, constraint.keyword
    limit = schema[keyword]
    match keyword:
        case "type":
            yield from ((place, value) for value in _WRONG_TYPE[limit])
        case "x-kubernetes-int-or-string":
            yield from ((place, value) for value in ({}, [], 1.5, True))
        case "enum":
            yield place, 5 if isinstance(limit[0], int) else "Nonsense"
            if isinstance(limit[0], str):
                yield from ((place, value.swapcase()) for value in limit if value.swapcase() not in limit)
        case "allOf":
            known = set.intersection(*(set(part["enum"]) for part in limit))
            some = {value for part in limit for value in part["enum"]} | {"Nonsense"}
            yield from ((place, value) for value in sorted(some - known))
        case "pattern" if limit != "^.*":
            expression = re.compile(("(?i)" if "(?i)" in limit else "") + limit.replace("(?i)", ""), re.ASCII)
            yield from ((place, text) for text in _TEXTS if not expression.search(text) or text == "\n")
        case "format" if limit == "cidr":
            yield from ((place, text) for text in ("garbage", "10.0.0.0/33", "fd00::/129", "10.0.0/24", "10.0.0.0/-1"))
        case "format" if limit == "date-time":
            yield from ((place, text) for text in ("yesterday", "2026-08-22", "2026-13-01T00:00:00Z"))
        case "maxLength":
            yield place, "a" * (limit + 1)
        case "minLength":
            yield place, "a" * (limit - 1)
        case "minimum":
            yield place, limit - 1
        case "maximum":
            yield place, limit + 1
        case "maxItems":
            yield place, [sample(schema["items"], number) for number in range(limit + 1)]
        case "minItems" if place[-1] in constraint.parent.get("required", ()):
            yield place, []
        case "minProperties":
            yield place, {}
        case "maxProperties":
            yield place, {name: sample(inner) for name, inner in schema["properties"].items()}
        case "x-kubernetes-list-type" if limit == "set":
            yield (*place, 1), [sample(schema["items"])] * 2
        case "x-kubernetes-list-type" if limit == "map":
            yield (*place, 1), [_element(constraint.kind, (*place, 0))] * 2


KEYWORDS_WITHOUT_EFFECT = {
    "anyOf": "the union is judged by x-kubernetes-int-or-string",
    "nullable": "allows",
    "x-kubernetes-list-map-keys": "judged with x-kubernetes-list-type",
    "x-kubernetes-map-type": "says how to merge",
}
