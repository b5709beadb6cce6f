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
    metadata = raw.get("metadata") if isinstance(raw, dict) else None
    name, namespace = (
        (str((metadata or {}).get(key, "")) for key in ("name", "namespace"))
        if isinstance(metadata, dict)
        else ("", "")
    )
    kind = str(raw.get("kind", "")) if isinstance(raw, dict) else ""
    faults: list[FieldError] = []
    known = raw
    if isinstance(raw, dict):
        try:
            cls = kind_info(kind).cls
        except InvalidInput:
            pass
        else:
            faults += [FieldError(path, "", "unknown field") for path in unknown_fields(raw, cls)]
            known = _only_known(raw, cls) if faults else raw
    try:
        resource = to_resource("", known, default_namespace)
    except InvalidInput as error:
        return Judgement(kind, namespace, name, (*faults, FieldError(error.field, "", error.message)))
    found = resource.metadata
    return Judgement(kind, found.namespace, found.name, (*faults, *validate(with_defaults(resource))))


def _only_known(raw: dict[str, object], cls: type) -> object:
    """The document without unknown fields; unchanged where it has a field of a wrong type."""
    try:
        resource: object = msgspec.convert(raw, cls, strict=True)
    except msgspec.ValidationError:
        return raw
    return msgspec.to_builtins(resource)
