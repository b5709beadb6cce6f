"""The BGP agent: datastore → plan → bird.conf → BIRD, and its status. This module is the map of the daemon."""

from __future__ import annotations

import asyncio
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog

from calico import __version__
from calico.bgp.agentstate import AgentState
from calico.bgp.applier import Applier
from calico.bgp.bird.supervisor import Supervisor
from calico.bgp.endpointfeed import EndpointFeed
from calico.bgp.explain.looking import Looker
from calico.bgp.health import AgentHealth
from calico.bgp.metrics import bgp_registry
from calico.bgp.nodestatus.reporter import NodeStatusReporter
from calico.bgp.ownershipfeed import OwnershipFeed
from calico.bgp.planning.plan import ExportMode
from calico.bgp.planning.serviceroutes import ServiceSource
from calico.bgp.planning.snapshot import watched_prefixes
from calico.bgp.problem import Problem
from calico.bgp.remote.answering import Answerer
from calico.bgp.secretfiles import SecretFiles
from calico.bgp.servicefeed import ServiceFeed
from calico.bgp.status import status_document
from calico.bgp.statuswatch import StatusWatch
from calico.datastore.api import Backend
from calico.datastore.connection import Connection, open_backend
from calico.datastore.sync.acceptance import accept_keys
from calico.datastore.sync.syncer import Syncer
from calico.obs.listeners import HealthWanted, Listeners, MetricsWanted
from calico.obs.statussocket import StatusServer

__all__ = ["BGPSettings", "run", "run_with_backend"]

_CONTACT_CHECK_S = 2.0
_CONTACT_LOST_S = 5.0

log = structlog.get_logger(__name__)


class BGPSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent must be told. ``run_dir`` holds bird.conf, bird.ctl, bird.log, bird.pid and bgp.sock;
    ``secrets_dir`` passwords, as ``<secret>/<key>``; ``listen``: where health and metrics are asked."""

    node: str
    etcd: Connection
    run_dir: str
    bird: str = "bird"
    export_mode: ExportMode = "pools"
    secrets_dir: str = "/etc/calico/bgp-secrets"
    listen: tuple[HealthWanted | MetricsWanted, ...] = ()


async def run(settings: BGPSettings) -> None:
    """Run until cancelled; BIRD goes on forwarding afterwards and is adopted by the next run."""
    backend = open_backend(settings.etcd)
    try:
        await run_with_backend(settings, backend)
    finally:
        await backend.close()


async def run_with_backend(settings: BGPSettings, backend: Backend, services: ServiceSource | None = None) -> None:
    """``run`` on any datastore; ``services`` knows of services in place of the datastore."""
    directory = Path(settings.run_dir).absolute()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = AgentState(node=settings.node, pid=os.getpid(), version=__version__)
    supervisor = Supervisor(directory, settings.bird)
    files, feed = SecretFiles(Path(settings.secrets_dir)), EndpointFeed(backend, settings.node)
    told, owners = ServiceFeed(backend, settings.node), OwnershipFeed(backend, settings.node)
    applier = Applier(settings.node, supervisor, state, settings.export_mode, files, feed, told, owners)
    syncer = Syncer(
        backend,
        watched_prefixes(settings.node),
        applier,
        require_ready=True,
        accept_keys=accept_keys(settings.node),
    )
    watch = StatusWatch(supervisor, state)
    document = partial(_document, state, supervisor)
    server = StatusServer(directory / "bgp.sock", document)
    looker = Looker(directory, document)
    answerer = Answerer(backend, settings.node, looker, document)
    reporter = NodeStatusReporter(backend, settings.node, looker, document)
    health = AgentHealth(state, settings.listen)
    listeners = Listeners({"/liveness": health.live, "/readiness": health.ready}, bgp_registry(document))
    log.info("bgp agent started", host=settings.node, run_dir=str(directory))
    async with asyncio.TaskGroup() as group:
        for service in (supervisor, syncer, feed, files, owners, applier, watch, server, answerer, reporter):
            group.create_task(service.run(), name=type(service).__name__)
        group.create_task(health.run(listeners), name="health")
        group.create_task(watch_contact(syncer, state), name="contact")
        group.create_task((services or told).run(applier), name="services")


def _document(state: AgentState, supervisor: Supervisor) -> dict[str, Any]:
    return status_document(state, supervisor.problems, time.time())


async def watch_contact(syncer: Syncer, state: AgentState) -> None:
    """Say so when the datastore has not answered for a while."""
    while True:
        age = syncer.contact_age_s()
        if age is not None and age > _CONTACT_LOST_S:
            message = f"for {age:.0f} s: {syncer.trouble}"
            state.contact_problems = (Problem("datastore-unreachable", "datastore", message),)
        else:
            state.contact_problems = ()
        await asyncio.sleep(_CONTACT_CHECK_S)
