"""``calico kubernetes controllers``: Kubernetes API → controllers → datastore. This module is the map of the daemon."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid

import msgspec

from calico.datastore.api import Backend
from calico.datastore.connection import Connection, open_backend
from calico.datastore.typed.store import Store
from calico.ipam.cascade import IPAMCascade
from calico.obs.heartbeat import Heartbeat
from calico.obs.listeners import HealthWanted, Listeners
from calico.obs.logger import Logger
from calico.orchestrators.kubernetes.api.client import Client
from calico.orchestrators.kubernetes.api.connection import APIConnection
from calico.orchestrators.kubernetes.api.events import Reporter
from calico.orchestrators.kubernetes.api.lease import LeaseElection
from calico.orchestrators.kubernetes.controllers.fencing import Deposed, FencedBackend, take_fence
from calico.orchestrators.kubernetes.controllers.roster import Office, Service, controllers

__all__ = ["ControllerSettings", "Daemon", "run"]

log = Logger(__name__)

_COMPONENT = "calico-kube-controllers"
_LISTEN_AGAIN_S = 10.0


class ControllerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``names``: which controllers, all when empty. The Lease is ``lease_namespace/lease_name``."""

    api: APIConnection
    etcd: Connection
    names: tuple[str, ...] = ()
    lease_namespace: str = "kube-system"
    lease_name: str = _COMPONENT
    lease_s: int = 15
    health: HealthWanted | None = None


async def run(settings: ControllerSettings) -> None:
    """Run until cancelled; the Lease is given back, and the next leader takes over at once."""
    backend = open_backend(settings.etcd)
    try:
        async with Client(settings.api, field_manager=_COMPONENT) as client:
            await Daemon(settings, client, backend).run()
    finally:
        await backend.close()


class Daemon:
    """A candidate, and while it leads the controllers. A standby holds no view and asks for nothing but the Lease."""

    def __init__(self, settings: ControllerSettings, client: Client, backend: Backend) -> None:
        self._settings, self._client, self._backend = settings, client, backend
        self._host = socket.gethostname()
        self._election = LeaseElection(
            client,
            settings.lease_namespace,
            settings.lease_name,
            f"{self._host}_{os.getpid()}_{uuid.uuid4().hex[:8]}",
            self._lead,
            duration_s=settings.lease_s,
        )
        self._heartbeat = Heartbeat()
        self._running: tuple[Service, ...] = ()

    async def run(self) -> None:
        """Stand for election, answer about health, tell systemd."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._election.run(), name="election")
            group.create_task(self._heartbeat.run(self.live, self.status), name="heartbeat")
            group.create_task(self._listen(), name="health")

    def live(self) -> list[str]:
        """What hangs; from any thread."""
        return self._heartbeat.silent()

    def ready(self) -> list[str]:
        """What is behind; a standby is ready when it can see the Lease. From any thread."""
        if not self._election.leading:
            return [f"election: {self._election.trouble}"] if self._election.trouble else []
        return [trouble for service in self._running for trouble in service.troubles()]

    def status(self) -> str:
        """One line for systemd."""
        if not self._election.leading:
            return "standby"
        troubles = self.ready()
        return f"leader; {len(troubles)} in trouble: {troubles[0]}" if troubles else "leader"

    async def _lead(self) -> None:
        """One term of office; it ends when another has taken over."""
        try:
            fence = await take_fence(self._backend, self._election.identity, self._election.is_ours)
            store = Store(FencedBackend(self._backend, fence), ipam=IPAMCascade())
            reporter = Reporter(self._client, _COMPONENT, self._host, self._election.holds)
            self._running = tuple(controllers(Office(self._client, store, reporter), self._settings.names))
            async with asyncio.TaskGroup() as group:
                group.create_task(reporter.run(), name="reporter")
                for service in self._running:
                    group.create_task(service.run(), name=type(service).__name__)
        except* Deposed as group_of:
            log.warning("kubernetes_leader_deposed", reason=str(group_of.exceptions[0]))
        finally:
            self._running = ()

    async def _listen(self) -> None:
        import prometheus_client

        listeners = Listeners({"/liveness": self.live, "/readiness": self.ready}, prometheus_client.CollectorRegistry())
        try:
            while self._settings.health is not None:
                listeners.want({self._settings.health})
                for name, trouble in listeners.troubles.items():
                    log.warning("address_not_listened_on", listener=name, error=trouble)
                await asyncio.sleep(_LISTEN_AGAIN_S)
        finally:
            listeners.close()
