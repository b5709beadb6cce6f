"""NetworkPolicy ``p`` in ``n`` → Calico's NetworkPolicy ``knp.default.p`` in ``n``.

What cannot be converted allows nothing, and is told by an Event on the policy.
"""

from __future__ import annotations

from typing import Any

from calico.datastore.typed.store import Store
from calico.model.keys import ResourceKey
from calico.model.meta import Resource
from calico.orchestrators.kubernetes.api.client import Client
from calico.orchestrators.kubernetes.api.events import Reporter
from calico.orchestrators.kubernetes.api.informer import Key
from calico.orchestrators.kubernetes.controllers.mirror import Mirror
from calico.orchestrators.kubernetes.convert.closed import network_policy_or_closed

__all__ = ["NetworkPolicies"]

_PREFIX = "knp.default."


class NetworkPolicies(Mirror):
    """NetworkPolicies whose names begin with ``knp.default.`` are ours."""

    def __init__(self, client: Client, store: Store, reporter: Reporter, **options: Any) -> None:
        super().__init__("network policies", "NetworkPolicy", store, reporter, **options)
        self._policies = self.follow(client, "/apis/networking.k8s.io/v1/networkpolicies")

    def convert(self, key: Key) -> Resource | None:
        found = self._policies.objects.get(key)
        if found is None:
            return None
        converted = network_policy_or_closed(found)
        for problem in converted.problems:
            self.warn(key, "NotFullyConverted", problem)
        return converted.policy

    def target_of(self, key: Key) -> ResourceKey:
        return ResourceKey("NetworkPolicy", key[0], f"{_PREFIX}{key[1]}")

    def source_of(self, key: ResourceKey) -> Key | None:
        return (key.namespace, key.name.removeprefix(_PREFIX)) if key.name.startswith(_PREFIX) else None
