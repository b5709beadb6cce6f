"""The agent of a compute host: answers DHCP and router solicitations of its instances, and hands on their questions for
metadata. This file is the map of the daemon.

etcd -> Syncer -> Inputs -> View -> Instances -> Taps -> answers;  kernel -> InterfaceMonitor -> Instances;
View -> Cache -> disk;  instance -> MetadataProxy -> nova.
"""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from calico import __version__
from calico.dataplane.interfaces import InterfaceMonitor
from calico.datastore.connection import Connection, open_backend
from calico.datastore.sync.acceptance import accept_keys
from calico.datastore.sync.contact import watch_contact
from calico.datastore.sync.syncer import Syncer
from calico.obs.conditions import CATALOGUE, Conditions
from calico.obs.listeners import HealthWanted, Listeners, MetricsWanted
from calico.obs.statussocket import StatusServer
from calico.orchestrators.openstack.answers.outcome import Outcome
from calico.orchestrators.openstack.compute.cache import Cache
from calico.orchestrators.openstack.compute.health import Health
from calico.orchestrators.openstack.compute.inputs import Inputs, prefixes
from calico.orchestrators.openstack.compute.instances import Instances
from calico.orchestrators.openstack.compute.metadata.settings import MetadataSettings
from calico.orchestrators.openstack.compute.metrics import Counts, Metrics
from calico.orchestrators.openstack.compute.taps import Tap
from calico.orchestrators.openstack.leases import Offers

__all__ = ["SOCKET", "AgentSettings", "run"]

log = structlog.get_logger(__name__)

SOCKET: Final = "openstack-agent.sock"
_TRY_AGAIN_S: Final = 5.0


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``prefixes`` tell interfaces of instances from the host's own; ``metadata`` None: no proxy."""

    node: str
    etcd: Connection
    region: str = ""
    run_dir: str = "/var/run/calico"
    state_dir: str = "/var/lib/calico/openstack"
    prefixes: tuple[str, ...] = ("tap",)
    offers: Offers = Offers()
    metadata: MetadataSettings | None = None
    listeners: frozenset[HealthWanted | MetricsWanted] = frozenset()


async def run(settings: AgentSettings) -> None:
    """Run until cancelled. What instances were told holds on."""
    log.info("openstack agent starts", node=settings.node, version=__version__, etcd=settings.etcd.endpoints)
    raise_descriptor_limit()
    conditions = Conditions()
    cache = Cache(Path(settings.state_dir) / "known.json", settings.node, settings.region)

    def on_change(names: set[str]) -> None:
        instances.on_change(names)
        cache.changed()

    inputs = Inputs(settings.node, settings.region, cache.read(), conditions, on_change)

    def on_outcome(tap: Tap, outcome: Outcome) -> None:
        metrics.on_outcome(outcome)
        if outcome.detail and tap.may_log():
            log.info("answered", interface=tap.name, asked=outcome.asked, answer=outcome.answer, why=outcome.detail)

    def on_link(name: str, index: int) -> None:
        if proxy is not None:
            proxy.on_link(name, index)

    instances = Instances(lambda: inputs.view, settings.offers, conditions, on_outcome, on_link)
    proxy = None
    if settings.metadata is not None:
        from calico.orchestrators.openstack.compute.metadata.proxy import MetadataProxy

        def on_metadata(status: int, took_s: float) -> None:
            metrics.on_metadata(status, took_s)

        proxy = MetadataProxy(settings.metadata, instances.port_at, on_metadata)

    def troubles() -> dict[str, str]:
        found = {f"metadata on {where}": why for where, why in proxy.troubles.items()} if proxy is not None else {}
        return {**found, **({"cache": cache.trouble} if cache.trouble else {})}

    def counts() -> Counts:
        endpoints, subnets = inputs.view.counts
        return Counts(
            instances=len(instances.taps),
            endpoints=endpoints,
            subnets=subnets,
            in_sync=inputs.in_sync,
            datastore_revision=inputs.revision,
            metadata_connections=proxy.connections if proxy is not None else 0,
            conditions=[(c.code, CATALOGUE[c.code].severity) for c in conditions],
        )

    metrics = Metrics(counts)
    backend = open_backend(settings.etcd)
    syncer = Syncer(
        backend,
        prefixes(settings.node, settings.region),
        inputs,
        require_ready=True,
        accept_keys=accept_keys(settings.node),
    )
    monitor = InterfaceMonitor(instances.on_interface, prefixes=settings.prefixes)
    health = Health(inputs, conditions, set(settings.listeners), troubles)
    listeners = Listeners({"/liveness": health.live, "/readiness": health.ready}, metrics.registry)
    status = StatusServer(
        Path(settings.run_dir) / SOCKET, status_document(settings, inputs, syncer, instances, metrics, conditions)
    )
    try:
        async with asyncio.TaskGroup() as services:
            services.create_task(status.run(), name="status")
            services.create_task(health.run(listeners), name="health")
            services.create_task(monitor.run(), name="interfaces")
            services.create_task(syncer.run(), name="syncer")
            services.create_task(watch_contact(syncer, conditions), name="contact")
            services.create_task(try_again(instances), name="again")
            services.create_task(cache.run(inputs.known), name="cache")
            if proxy is not None:
                services.create_task(proxy.run(), name="metadata")
    finally:
        instances.close()
        await backend.close()
        log.info("openstack agent stopped; instances keep what they were told")


async def try_again(instances: Instances) -> None:
    """What could not be opened may be later."""
    while True:
        await asyncio.sleep(_TRY_AGAIN_S)
        instances.try_again()


def raise_descriptor_limit() -> None:
    """An instance takes three descriptors: as many as this process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def status_document(
    settings: AgentSettings,
    inputs: Inputs,
    syncer: Syncer,
    instances: Instances,
    metrics: Metrics,
    conditions: Conditions,
) -> Callable[[], dict[str, Any]]:
    """What the status socket answers."""
    started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def document() -> dict[str, Any]:
        return {
            "component": "openstack-agent",
            "node": settings.node,
            "version": __version__,
            "pid": os.getpid(),
            "started": started,
            "datastore": {
                "status": inputs.status.value,
                "reason": inputs.reason,
                "revision": inputs.revision,
                "connected": syncer.connected,
                "contact_age_s": syncer.contact_age_s(),
            },
            "in_sync": inputs.in_sync,
            "instances": instances.as_data(),
            "requests": metrics.requests(),
            "conditions": conditions.as_data(),
        }

    return document
