"""What an object holds on to: so that a test can tell that something was forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from types import FunctionType, MethodType, ModuleType
from typing import Any

__all__ = ["retained"]


def retained(value: Any) -> set[str | bytes]:
    """All texts and bytes that are reached from a value by attributes and members."""
    found: set[str | bytes] = set()
    seen: set[int] = set()
    ahead = [value]
    while ahead:
        value = ahead.pop()
        if isinstance(value, (str, bytes)):
            found.add(value)
        elif id(value) not in seen and not isinstance(value, (FunctionType, MethodType, ModuleType, type)):
            seen.add(id(value))
            ahead += _parts(value)
    return found


def _parts(value: Any) -> Iterator[Any]:
    match value:
        case Mapping():
            yield from value.keys()
            yield from value.values()
        case Set() | list() | tuple():
            yield from value
        case _:
            slots = (name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ()))
            for name in (*slots, *getattr(value, "__struct_fields__", ()), *getattr(value, "__dict__", ())):
                yield getattr(value, name, None)
