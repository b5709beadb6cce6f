"""Follows what the datastore tells of services, while somebody wants it: nobody does where no range is advertised."""

from __future__ import annotations

from collections.abc import Sequence

from calico.bgp.planning.serviceroutes import ServiceRoutes, ServiceSink
from calico.bgp.planning.serviceview import ServiceView
from calico.bgp.wantedfeed import WantedFeed
from calico.datastore.api import Backend, SyncStatus, Update
from calico.model.kubernetes.services import KUBERNETES_PREFIX

__all__ = ["ServiceFeed"]


class ServiceFeed(WantedFeed):
    """A ``ServiceSource``; ``run`` never ends."""

    def __init__(self, backend: Backend, host: str) -> None:
        super().__init__(backend, host, (KUBERNETES_PREFIX,))

    async def run(self, sink: ServiceSink) -> None:
        """Follow while wanted, for ever."""
        while True:
            await self.until_wanted()
            await self.follow(_Teller(ServiceView(self._host), sink))
            sink.on_services_forgotten()


class _Teller:
    """The syncer's sink: tells what changed for this host, and nothing before all is known."""

    def __init__(self, view: ServiceView, sink: ServiceSink) -> None:
        self._view, self._sink = view, sink
        self._known = False
        self._told: ServiceRoutes | None = None

    def on_status(self, status: SyncStatus, reason: str = "") -> None:
        """Part of ``SyncerSink``; what hinders this syncer hinders the agent's other one, which reports it."""
        if status is SyncStatus.IN_SYNC and not self._known:
            self._known = True
            self._told = self._view.routes()
            self._sink.on_services(self._told)

    def on_updates(self, updates: Sequence[Update], revision: int) -> None:
        """Part of ``SyncerSink``."""
        self._view.apply(updates)
        routes = self._view.routes() if self._known else None
        if self._known and routes != self._told:
            self._told = routes
            self._sink.on_services(routes)
