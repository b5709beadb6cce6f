"""ServiceAccount ``s`` in ``n`` → Profile ``ksa.n.s``, which gives the account's labels to endpoints that run as it."""

from __future__ import annotations

from typing import Any

from calico.datastore.typed.store import Store
from calico.model.keys import ResourceKey
from calico.model.meta import Resource
from calico.orchestrators.kubernetes.api.client import Client
from calico.orchestrators.kubernetes.api.events import Reporter
from calico.orchestrators.kubernetes.api.informer import Key
from calico.orchestrators.kubernetes.controllers.mirror import Mirror
from calico.orchestrators.kubernetes.convert import service_account_to_profile

__all__ = ["ServiceAccounts"]

_PREFIX = "ksa."


class ServiceAccounts(Mirror):
    """Profiles ``ksa.<namespace>.<name>`` are ours; a namespace has no dot in its name."""

    def __init__(self, client: Client, store: Store, reporter: Reporter, **options: Any) -> None:
        super().__init__("service accounts", "Profile", store, reporter, **options)
        self._accounts = self.follow(client, "/api/v1/serviceaccounts")

    def convert(self, key: Key) -> Resource | None:
        found = self._accounts.objects.get(key)
        if found is None:
            return None
        return service_account_to_profile(*key, found["metadata"].get("labels") or {})

    def target_of(self, key: Key) -> ResourceKey:
        return ResourceKey("Profile", "", f"{_PREFIX}{key[0]}.{key[1]}")

    def source_of(self, key: ResourceKey) -> Key | None:
        namespace, dot, name = key.name.removeprefix(_PREFIX).partition(".")
        return (namespace, name) if key.name.startswith(_PREFIX) and dot else None
