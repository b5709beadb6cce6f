"""What kinds and fields are for: types from the classes, sentences from ``fields.toml`` beside this file. Pure."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

import msgspec
import msgspec.inspect as inspect

from calico.errors import InvalidInput
from calico.model.kinds import KINDS, KindInfo

__all__ = ["Explained", "explain", "fields_of", "sentence", "struct_classes"]


class Explained(msgspec.Struct, frozen=True):
    """A field: its path from the kind, its type for people, its sentence, and the class of objects it holds, if any."""

    path: str
    type_name: str
    text: str
    cls: type | None = None


def explain(info: KindInfo, path: str) -> Explained:
    """What stands at a path (``spec.ingress.source``; indices may be left out); empty: the kind itself.

    InvalidInput names the first part that is no field, and those that are.
    """
    found = Explained("", "object", _doc(info.cls), info.cls)
    for part in path.split(".") if path else ():
        name = part.partition("[")[0]
        fields = {field.path: field for field in fields_of(found.cls)} if found.cls is not None else {}
        if name not in fields:
            known = f"; fields: {', '.join(fields)}" if fields else "; it has no fields"
            where = f"{info.kind}.{found.path}".rstrip(".")
            raise InvalidInput(f"there is no field {name!r}{known}", subject=where)
        field = fields[name]
        found = Explained(f"{found.path}.{name}".lstrip("."), field.type_name, field.text, field.cls)
    return found


@cache
def fields_of(cls: type) -> tuple[Explained, ...]:
    """The fields of a class of objects, in order; paths are their JSON names."""
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    found = []
    for field in info.fields:
        name, inner = _type(field.type)
        found.append(Explained(field.encode_name, name, sentence(cls, field.encode_name), inner))
    return tuple(found)


def sentence(cls: type, name: str) -> str:
    """What a field is for, as its class or a base of it says; empty when nobody does."""
    texts = _texts()
    for base in cls.__mro__:
        text = texts.get(base.__name__, {}).get(name)
        if text:
            return text
    return ""


def struct_classes() -> tuple[type, ...]:
    """Every class of objects that a resource can hold, each once."""
    found: dict[type, None] = {}
    todo: list[type] = [info.cls for info in KINDS]
    while todo:
        cls = todo.pop(0)
        if cls not in found:
            found[cls] = None
            todo += [field.cls for field in fields_of(cls) if field.cls is not None]
    return tuple(found)


def _type(kind: inspect.Type) -> tuple[str, type | None]:
    """A name for people, and the class of objects within."""
    match kind:
        case inspect.UnionType():
            members = [_type(member) for member in kind.types if not isinstance(member, inspect.NoneType)]
            cls = next((cls for _, cls in members if cls is not None), None)
            return " or ".join(name for name, _ in members), cls
        case inspect.StructType():
            return kind.cls.__name__, kind.cls
        case inspect.DictType():
            return "map", None
        case inspect.VarTupleType() | inspect.ListType():
            name, cls = _type(kind.item_type)
            return f"list of {name}", cls
        case _:
            return _SIMPLE.get(type(kind), "any"), None


_SIMPLE: dict[type, str] = {
    inspect.StrType: "text",
    inspect.IntType: "integer",
    inspect.FloatType: "number",
    inspect.BoolType: "boolean",
}


@cache
def _texts() -> dict[str, dict[str, str]]:
    text = files("calico.model").joinpath("fields.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _doc(cls: type) -> str:
    return " ".join((cls.__doc__ or "").split())
