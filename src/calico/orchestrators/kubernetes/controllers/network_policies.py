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
from calico.orchestrators.kubernetes.convert.closed import KNP, network_policy_or_closed, resource_name

__all__ = ["NetworkPolicies"]


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
        return ResourceKey("NetworkPolicy", key[0], resource_name(KNP, key[1]))

    def source_of(self, key: ResourceKey) -> Key | None:
        return (key.namespace, key.name.removeprefix(KNP)) if key.name.startswith(KNP) else None
