"""What a script gives, judged before it is used: types that Python does not enforce. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_type_hints

import msgspec

from calico.errors import InvalidInput
from calico.model.manifest import resource_to_data, to_resource
from calico.model.meta import Metadata, Resource

__all__ = ["check_identity", "check_labels", "check_names", "check_resource", "described", "typed_resource"]

R = TypeVar("R", bound=Resource)


def typed_resource(given: object) -> Resource:
    """What was given typed, or as parsed YAML or JSON; InvalidInput when it is neither."""
    if isinstance(given, Resource):
        return check_resource(given, type(given))
    return to_resource("the given document", given)


def check_resource(given: object, cls: type[R]) -> R:
    """The resource with every value of the type its field has; InvalidInput names the first that cannot be."""
    kind = cls.__name__
    if type(given) is not cls:
        if isinstance(given, dict):
            raise InvalidInput(f"is a dict, not a {kind}: give it to client.apply()", subject="the given document")
        what = "is None" if given is None else f"is a {type(given).__name__}"
        raise InvalidInput(f"{what}, not a {kind}", subject=_name_of(given))
    subject = f"{kind} {_name_of(given)}"
    if given.kind not in ("", kind):
        raise InvalidInput(f"is {given.kind!r} in a {kind}; leave it empty", subject=subject, field="kind")
    for field, due in get_type_hints(cls).items():
        value = getattr(given, field)
        if isinstance(due, type) and issubclass(due, msgspec.Struct) and not isinstance(value, due):
            message = f"must be a {due.__name__}, not {described(value)}"
            raise InvalidInput(message, subject=subject, field=field)
    try:
        data = resource_to_data(given)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"has a value of a type that cannot be stored: {error}", subject=subject) from error
    try:
        found = to_resource("", data, default_namespace="")
        assert isinstance(found, cls)
        return found
    except InvalidInput as error:
        raise InvalidInput(error.message, subject=subject, field=error.field) from error


def check_identity(kind: str, name: object, namespace: object) -> None:
    """InvalidInput unless both are strings that can stand in a key."""
    for field, value in (("name", name), ("namespace", namespace)):
        if not isinstance(value, str):
            raise InvalidInput(f"must be a str, not {described(value)}", subject=kind, field=field)
        if "/" in value:
            raise InvalidInput(f"{value!r}: there is no '/' in a {field}", subject=kind, field=field)


def check_labels(subject: str, labels: object) -> None:
    """InvalidInput unless it maps strings to strings."""
    if not isinstance(labels, Mapping):
        raise InvalidInput(
            f"must be a mapping of names to values, not {described(labels)}", subject=subject, field="labels"
        )
    for key, value in labels.items():
        if not isinstance(key, str) or not isinstance(value, str):
            found = key if not isinstance(key, str) else value
            message = f"must be a str, not {described(found)}"
            raise InvalidInput(message, subject=subject, field=f"labels[{key}]")


def check_names(subject: str, field: str, names: Iterable[str]) -> tuple[str, ...]:
    """The names; InvalidInput when they are one string, whose letters would be taken, or hold what is none."""
    found: Any = names
    if isinstance(found, str) or not isinstance(found, Iterable):
        raise InvalidInput(f"must be a list of names, not {described(found)}", subject=subject, field=field)
    listed = tuple(found)
    for name in listed:
        if not isinstance(name, str):
            raise InvalidInput(f"must be names, not {described(name)}", subject=subject, field=field)
    return listed


def _name_of(given: object) -> str:
    metadata = getattr(given, "metadata", None)
    name = metadata.name if isinstance(metadata, Metadata) else None
    return name if isinstance(name, str) and name else "(no name)"


def described(value: object) -> str:
    """The value, shortened, or what it is."""
    if value is None:
        return "None"
    return f"{value!r:.40}" if isinstance(value, str | int | float) else f"a {type(value).__name__}"
