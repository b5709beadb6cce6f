"""Resources as people write and read them: parsed YAML or JSON, judged strictly, and back. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from calico.errors import InvalidInput
from calico.model.kinds import kind_info
from calico.model.meta import API_VERSION, Resource
from calico.model.schema import unknown_fields

__all__ = ["resource_to_data", "to_resource"]


def to_resource(
    where: str, raw: object, default_namespace: str = "default", *, allow_unknown_fields: bool = False
) -> Resource:
    """A typed resource; unknown fields, wrong types and unknown kinds are InvalidInput naming object and field."""
    if not isinstance(raw, dict):
        raise InvalidInput("must be an object with kind, apiVersion, metadata and spec", subject=where)
    metadata = raw.get("metadata")
    name = metadata.get("name", "") if isinstance(metadata, dict) else ""
    subject = f"{raw.get('kind', '?')} {name} ({where})"
    try:
        info = kind_info(str(raw.get("kind", "")))
    except InvalidInput as error:
        raise InvalidInput(error.message, subject=subject, field="kind") from None
    if raw.get("apiVersion") != API_VERSION:
        raise InvalidInput(f"must be {API_VERSION}", subject=subject, field="apiVersion")
    unknown = [] if allow_unknown_fields else unknown_fields(raw, info.cls)
    if unknown:
        raise InvalidInput("unknown field", subject=subject, field=unknown[0])
    try:
        resource = msgspec.convert(raw, info.cls, strict=True)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
        raise InvalidInput(message, subject=subject, field=path.rstrip("`").removeprefix("$.")) from error
    if info.namespaced and not resource.metadata.namespace:
        metadata_ns = msgspec.structs.replace(resource.metadata, namespace=default_namespace)
        resource = msgspec.structs.replace(resource, metadata=metadata_ns)
    return resource


def resource_to_data(resource: Resource) -> dict[str, Any]:
    """The resource as people see it: kind and apiVersion first, nothing empty."""
    body: dict[str, Any] = msgspec.to_builtins(resource)
    head = {"kind": resource.kind or type(resource).__name__, "apiVersion": API_VERSION}
    return {**head, **{key: value for key, value in body.items() if key not in head}}
