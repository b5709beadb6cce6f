"""Namespace ``n`` → Profile ``kns.n``, which gives the namespace's labels to its endpoints."""

from __future__ import annotations

from typing import Any

from calico.datastore.typed.store import Store
from calico.model.keys import ResourceKey
from calico.model.meta import Resource
from calico.orchestrators.kubernetes.api.client import Client
from calico.orchestrators.kubernetes.api.events import Reporter
from calico.orchestrators.kubernetes.api.informer import Key
from calico.orchestrators.kubernetes.controllers.mirror import Mirror
from calico.orchestrators.kubernetes.convert import namespace_to_profile

__all__ = ["Namespaces"]

_PREFIX = "kns."


class Namespaces(Mirror):
    """Profiles whose names begin with ``kns.`` are ours."""

    def __init__(self, client: Client, store: Store, reporter: Reporter, **options: Any) -> None:
        super().__init__("namespaces", "Profile", store, reporter, **options)
        self._namespaces = self.follow(client, "/api/v1/namespaces")

    def convert(self, key: Key) -> Resource | None:
        found = self._namespaces.objects.get(key)
        if found is None:
            return None
        return namespace_to_profile(key[1], found["metadata"].get("labels") or {})

    def target_of(self, key: Key) -> ResourceKey:
        return ResourceKey("Profile", "", f"{_PREFIX}{key[1]}")

    def source_of(self, key: ResourceKey) -> Key | None:
        return ("", key.name.removeprefix(_PREFIX)) if key.name.startswith(_PREFIX) else None
