"""Metadata that every resource carries, and the base of all resource classes."""

from __future__ import annotations

import msgspec

__all__ = ["API_VERSION", "Metadata", "Model", "Resource"]

API_VERSION = "projectcalico.org/v3"


class Model(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True, rename="camel"):
    """Base of every model value: immutable, hashable by value where its fields are, cheap for the collector."""


class Metadata(Model, frozen=True, kw_only=True):
    """What identifies and describes a resource. ``resource_version`` is the key's mod revision and is never stored."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str | None = None
    generate_name: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[dict[str, object], ...] = ()


class Resource(Model, frozen=True, kw_only=True):
    """Base of the kinds: ``kind``, ``apiVersion`` and ``metadata``; subclasses add a typed ``spec``."""

    kind: str = ""
    api_version: str = API_VERSION
    metadata: Metadata = Metadata()
