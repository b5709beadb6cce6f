"""Everything that is wrong with a document a person wrote, at once. Pure; needs no datastore."""

from __future__ import annotations

import msgspec

from calico.errors import InvalidInput
from calico.model.defaults import with_defaults
from calico.model.kinds import kind_info
from calico.model.manifest import to_resource
from calico.model.schema import unknown_fields
from calico.model.validation import FieldError, validate

__all__ = ["Judgement", "judge_document"]


class Judgement(msgspec.Struct, frozen=True):
    """One document: what it is (kind, namespace, name as far as they can be told) and its faults; none: it is fine."""

    kind: str
    namespace: str
    name: str
    faults: tuple[FieldError, ...]

    @property
    def identity(self) -> tuple[str, str, str]:
        """What must not be given twice."""
        return self.kind, self.namespace, self.name


def judge_document(raw: object, default_namespace: str = "default") -> Judgement:
    """All unknown fields, then, read without them, a field of a wrong type or all that validation finds."""
    document = raw if isinstance(raw, dict) else {}
    metadata = document.get("metadata")
    named = metadata if isinstance(metadata, dict) else {}
    kind = str(document.get("kind", ""))
    namespace, name = (str(named.get(key, "")) for key in ("namespace", "name"))
    unknown = tuple(FieldError(path, "", "unknown field") for path in _unknown_fields(document, kind))
    try:
        resource = to_resource("", raw, default_namespace, allow_unknown_fields=True)
    except InvalidInput as error:
        return Judgement(kind, namespace, name, (*unknown, FieldError(error.field, "", error.message)))
    found = resource.metadata
    return Judgement(kind, found.namespace, found.name, (*unknown, *validate(with_defaults(resource))))


def _unknown_fields(document: dict[str, object], kind: str) -> list[str]:
    try:
        return unknown_fields(document, kind_info(kind).cls)
    except InvalidInput:
        return []
