"""All that a datastore holds as one document, and back: exact, readable where possible.

``resources`` are the stored objects as they are, under the key that kind, namespace and name give. ``keys`` hold the
rest by key: IPAM, subnets, secrets, resources of unknown kinds, and what is no plain JSON (``base64``). What is leased,
what hosts report of themselves and what an operator is just doing (trials, acceptances) is left out.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from calico.datastore.api import Backend
from calico.datastore.etcd.wire import key_of, raw_key
from calico.datastore.sync.acceptance import ACCEPT_PREFIX
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY, cluster_facts
from calico.datastore.trial import TRIAL_PREFIX
from calico.errors import InvalidInput
from calico.model.keys import ROOT, ResourceKey, key_path, parse_key
from calico.model.meta import API_VERSION

__all__ = [
    "KIND",
    "Entry",
    "Export",
    "collect",
    "encoded",
    "faithful",
    "is_exported",
    "means_the_same",
    "read_document",
    "to_document",
]

KIND = "CalicoDatastoreExport"
_VERSION = 1
_SECRETS = f"{ROOT}bgp/v1/secrets/"
_LEFT_OUT = (f"{ROOT}felix/", f"{ROOT}compaction/", TRIAL_PREFIX, ACCEPT_PREFIX)
_MAX_DEPTH = 64


class Entry(msgspec.Struct, frozen=True, order=True):
    """A key and its bytes."""

    key: str
    value: bytes


class Export(msgspec.Struct, frozen=True):
    """The entries of a store as of one revision."""

    entries: tuple[Entry, ...]
    guid: str = ""
    revision: int = 0


def is_exported(key: str, lease: int = 0) -> bool:
    """Whether a key belongs to what a cluster is, rather than to what happens in it."""
    return key.startswith(ROOT) and not lease and not key.startswith(_LEFT_OUT)


async def collect(backend: Backend, *, secrets: bool = True) -> Export:
    """Everything, as of one revision."""
    listing = await backend.list(ROOT)
    entries = tuple(
        Entry(kv.key, kv.value)
        for kv in listing.items
        if is_exported(kv.key, kv.lease) and (secrets or not kv.key.startswith(_SECRETS))
    )
    info = next((entry.value for entry in entries if entry.key == CLUSTER_INFO_KEY), b"{}")
    return Export(entries, cluster_facts(info).guid, listing.revision)


def to_document(export: Export) -> dict[str, Any]:
    """The document, ready for JSON or YAML."""
    resources, keys = [], []
    for entry in export.entries:
        tree = faithful(entry.value)
        if isinstance(tree, dict) and _key_of(tree) == entry.key:
            resources.append(tree)
        elif tree is not None:
            keys.append({**_name(entry.key), "value": tree})
        else:
            keys.append({**_name(entry.key), "base64": base64.b64encode(entry.value).decode()})
    head = {"kind": KIND, "version": _VERSION, "clusterGUID": export.guid, "revision": export.revision}
    return {**head, "resources": resources, "keys": keys}


def read_document(document: object, where: str) -> Export:
    """The export in a document; InvalidInput naming the entry that is wrong."""
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise InvalidInput(f"is not a {KIND}", subject=where, field="kind")
    if document.get("version") != _VERSION:
        raise InvalidInput(f"must be {_VERSION}", subject=where, field="version")
    entries = [*_resources(document.get("resources"), where), *_keys(document.get("keys"), where)]
    seen: set[str] = set()
    for entry in entries:
        if entry.key in seen:
            raise InvalidInput("stands there twice", subject=where, field=entry.key)
        seen.add(entry.key)
    info = next((entry.value for entry in entries if entry.key == CLUSTER_INFO_KEY), b"{}")
    revision = document.get("revision")
    return Export(tuple(entries), cluster_facts(info).guid, revision if isinstance(revision, int) else 0)


def means_the_same(one: bytes, other: bytes) -> bool:
    """Whether two values are equal, or the same JSON written differently."""
    if one == other:
        return True
    tree = faithful(one)
    return tree is not None and tree == faithful(other)


def _resources(found: object, where: str) -> Iterator[Entry]:
    for index, tree in enumerate(_list(found, where, "resources")):
        field = f"resources[{index}]"
        key = _key_of(tree) if isinstance(tree, dict) else ""
        if not key:
            message = "needs a known kind, apiVersion, metadata.name and, where the kind has one, metadata.namespace"
            raise InvalidInput(message, subject=where, field=field)
        yield Entry(key, _bytes(tree, where, field))


def _keys(found: object, where: str) -> Iterator[Entry]:
    for index, item in enumerate(_list(found, where, "keys")):
        field = f"keys[{index}]"
        if not isinstance(item, dict):
            raise InvalidInput("needs a key", subject=where, field=field)
        key = key_of(_unbase64(item["keyBase64"], where, field)) if "keyBase64" in item else str(item.get("key", ""))
        if not is_exported(key):
            raise InvalidInput(f"{key!r} is no key that can be imported", subject=where, field=f"{field}.key")
        if "base64" in item:
            value = _unbase64(item["base64"], where, field)
        elif "value" in item:
            value = _bytes(item["value"], where, f"{field}.value")
        else:
            raise InvalidInput("needs a value or base64", subject=where, field=field)
        yield Entry(key, value)


def _name(key: str) -> dict[str, str]:
    """A key as text, where it is text."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return {"keyBase64": base64.b64encode(raw_key(key)).decode()}
    return {"key": key}


def _unbase64(text: object, where: str, field: str) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"is no base64: {error}", subject=where, field=field) from None


def _list(found: object, where: str, field: str) -> list[Any]:
    if found is None:
        return []
    if not isinstance(found, list):
        raise InvalidInput("must be a list", subject=where, field=field)
    return found


def _bytes(tree: object, where: str, field: str) -> bytes:
    try:
        return encoded(tree)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"is no JSON: {error}", subject=where, field=field) from None


def encoded(tree: object) -> bytes:
    """As JSON in one line; ValueError for what JSON cannot say."""
    return json.dumps(tree, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _key_of(tree: dict[str, Any]) -> str:
    """Where a resource stands by what it says of itself; empty when it does not say enough."""
    metadata = tree.get("metadata")
    if tree.get("apiVersion") != API_VERSION or not isinstance(metadata, dict):
        return ""
    parts = tree.get("kind"), metadata.get("namespace", ""), metadata.get("name")
    if not all(isinstance(part, str) for part in parts):
        return ""
    key = ResourceKey(str(parts[0]), str(parts[1]), str(parts[2]))
    try:
        path = key_path(key)
    except InvalidInput:
        return ""
    return path if parse_key(path) == key else ""


def faithful(value: bytes) -> Any:
    """The JSON in ``value`` when it can be written anew without loss, else None."""
    try:
        tree = json.loads(value.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
        encoded(tree)
    except (ValueError, RecursionError):
        return None
    return None if _depth(tree, _MAX_DEPTH) else tree


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise ValueError("a name stands there twice")
    return tree


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _depth(tree: Any, left: int) -> bool:
    """Whether it is nested deeper than any schema."""
    inner: Iterable[Any] = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return not left or any(_depth(item, left - 1) for item in inner)
