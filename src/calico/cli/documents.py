"""Resources in files: YAML or JSON, several to a file, lists, directories; read strictly."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from calico.cli.yaml_loader import loader_for
from calico.errors import InvalidInput
from calico.model.codec import unknown_fields
from calico.model.kinds import kind_info
from calico.model.meta import API_VERSION, Resource

__all__ = ["read_documents", "resource_to_data", "to_resource"]

_SUFFIXES = (".yaml", ".yml", ".json")


def read_documents(names: Iterable[str], *, recursive: bool = False) -> Iterator[tuple[str, object]]:
    """(where it stands, raw document) for every document of every file; ``-`` is standard input.

    InvalidInput names the file, line and column of what does not parse.
    """
    for path in _files(names, recursive):
        text = sys.stdin.read() if path == "-" else _text(path)
        try:
            documents = list(yaml.load_all(text, Loader=loader_for(text)))
        except (yaml.YAMLError, RecursionError) as error:
            raise InvalidInput(f"is not YAML or JSON: {' '.join(str(error).split())}", subject=path) from error
        index = 0
        for document in documents:
            for item in _items(document):
                index += 1
                yield f"{path} document {index}", item


def to_resource(where: str, raw: object, default_namespace: str = "default") -> Resource:
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
    unknown = unknown_fields(raw, info.cls)
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


def _items(document: object) -> list[object]:
    if document is None:
        return []
    if isinstance(document, list):
        return [item for part in document for item in _items(part)]
    if isinstance(document, dict) and str(document.get("kind", "")).endswith("List") and "items" in document:
        return [item for part in document["items"] or [] for item in _items(part)]
    return [document]


def _files(names: Iterable[str], recursive: bool) -> Iterator[str]:
    for name in names:
        path = Path(name)
        if name == "-" or not path.is_dir():
            yield name
            continue
        pattern = "**/*" if recursive else "*"
        yield from sorted(str(found) for found in path.glob(pattern) if found.suffix in _SUFFIXES and found.is_file())


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot be read: {error}", subject=path) from error
