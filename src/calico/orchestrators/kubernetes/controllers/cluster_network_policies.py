"""ClusterNetworkPolicy → GlobalNetworkPolicy in the tier kube-admin or kube-baseline.

How it went is told by the condition ``projectcalico.org/Accepted``, and by Events.
A cluster without that kind is well, too.
"""

from __future__ import annotations

from typing import Any

from calico.datastore.typed.store import Store
from calico.errors import InvalidInput
from calico.model.keys import ResourceKey
from calico.model.meta import Resource
from calico.orchestrators.kubernetes.api.client import Client
from calico.orchestrators.kubernetes.api.events import Condition, Reporter
from calico.orchestrators.kubernetes.api.informer import Key
from calico.orchestrators.kubernetes.controllers.mirror import Mirror
from calico.orchestrators.kubernetes.convert.closed import resource_name
from calico.orchestrators.kubernetes.convert.cluster_network_policy import (
    PREFIXES,
    cluster_network_policy_to_calico,
)

__all__ = ["CONDITION", "ClusterNetworkPolicies"]

_PATH = "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies"
CONDITION = "projectcalico.org/Accepted"


class ClusterNetworkPolicies(Mirror):
    """GlobalNetworkPolicies whose names begin with ``kcnp.admin.`` or ``kcnp.baseline.`` are ours."""

    def __init__(self, client: Client, store: Store, reporter: Reporter, **options: Any) -> None:
        super().__init__("cluster network policies", "GlobalNetworkPolicy", store, reporter, **options)
        self._policies = self.follow(client, _PATH, optional=True)

    def reconcile(self, key: Key) -> None:
        """As any mirror; a policy may have been of the other tier before."""
        wanted = self.target_of(key)
        for prefix in PREFIXES.values():
            other = ResourceKey("GlobalNetworkPolicy", "", resource_name(prefix, key[1]))
            if other != wanted:
                self.reconciler.unwant(other)
        super().reconcile(key)

    def convert(self, key: Key) -> Resource | None:
        found = self._policies.objects.get(key)
        if found is None:
            return None
        try:
            converted = cluster_network_policy_to_calico(found)
        except InvalidInput as error:
            self._tell(key, found, "NotConverted", (f"it has no effect: {error}",))
            return None
        self._tell(key, found, "NotFullyConverted", converted.problems)
        return converted.policy

    def target_of(self, key: Key) -> ResourceKey:
        tier = ((self._policies.objects.get(key) or {}).get("spec") or {}).get("tier")
        prefix = PREFIXES["Baseline"] if tier == "Baseline" else PREFIXES["Admin"]
        return ResourceKey("GlobalNetworkPolicy", "", resource_name(prefix, key[1]))

    def source_of(self, key: ResourceKey) -> Key | None:
        for prefix in PREFIXES.values():
            if key.name.startswith(prefix):
                return "", key.name.removeprefix(prefix)
        return None

    def _tell(self, key: Key, found: dict[str, Any], reason: str, problems: tuple[str, ...]) -> None:
        for problem in problems:
            self.warn(key, reason, problem)
        self._reporter.condition(
            found,
            Condition(
                path=f"{_PATH}/{key[1]}",
                type=CONDITION,
                good=not problems,
                reason=reason if problems else "Converted",
                message="; ".join(problems)[:32768] or "Calico enforces all of it",
                generation=int(found["metadata"].get("generation") or 0),
            ),
        )
