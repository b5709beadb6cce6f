"""Which controllers there are. Each is made anew for each term of office."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

import msgspec

from calico.datastore.typed.store import Store
from calico.errors import InvalidInput
from calico.orchestrators.kubernetes.api.client import Client
from calico.orchestrators.kubernetes.api.events import Reporter
from calico.orchestrators.kubernetes.controllers.cluster_network_policies import ClusterNetworkPolicies
from calico.orchestrators.kubernetes.controllers.collect import Collector
from calico.orchestrators.kubernetes.controllers.host_endpoints import HostEndpoints
from calico.orchestrators.kubernetes.controllers.namespaces import Namespaces
from calico.orchestrators.kubernetes.controllers.network_condition import NetworkCondition
from calico.orchestrators.kubernetes.controllers.network_policies import NetworkPolicies
from calico.orchestrators.kubernetes.controllers.nodes import Nodes
from calico.orchestrators.kubernetes.controllers.pods import Pods
from calico.orchestrators.kubernetes.controllers.service_accounts import ServiceAccounts

__all__ = ["ROSTER", "Office", "Service", "check_names", "controllers"]


class Office(msgspec.Struct, frozen=True):
    """What a controller works with: the API, the fenced datastore, and where problems are told."""

    client: Client
    store: Store
    reporter: Reporter


class Service(Protocol):
    """A controller as the daemon sees it."""

    def troubles(self) -> list[str]:
        """Why it may be behind; called from a thread of the health server."""
        ...

    async def run(self) -> None: ...


ROSTER: Mapping[str, Callable[[Office], Service]] = {
    "clusternetworkpolicy": lambda office: ClusterNetworkPolicies(office.client, office.store, office.reporter),
    "hostendpoint": lambda office: HostEndpoints(office.store),
    "ipamgc": lambda office: Collector(office.client, office.store),
    "namespace": lambda office: Namespaces(office.client, office.store, office.reporter),
    "networkcondition": lambda office: NetworkCondition(office.client, office.store, office.reporter),
    "node": lambda office: Nodes(office.client, office.store, office.reporter),
    "policy": lambda office: NetworkPolicies(office.client, office.store, office.reporter),
    "serviceaccount": lambda office: ServiceAccounts(office.client, office.store, office.reporter),
    "workloadendpoint": lambda office: Pods(office.client, office.store, office.reporter),
}
"""By the names that ENABLED_CONTROLLERS has for them."""


def check_names(names: Iterable[str]) -> tuple[str, ...]:
    """The names without blanks; InvalidInput for one that there is not."""
    found = tuple(name.strip() for name in names if name.strip())
    unknown = sorted(set(found) - set(ROSTER))
    if unknown:
        raise InvalidInput(f"{unknown[0]!r} is none of {', '.join(ROSTER)}", field="controllers")
    return found


def controllers(office: Office, names: Collection[str] = ()) -> list[Service]:
    """Those that are named, or all."""
    return [make(office) for name, make in ROSTER.items() if not names or name in names]
