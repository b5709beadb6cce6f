"""Felix: a function from (datastore, this host's interfaces) to kernel state. This file is the map of the daemon.

etcd -> Syncer -> Inputs -> Graph -> ApplyLoop -> Host (nftables, routes, neighbours, sysctls) -> status.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from calico import __version__
from calico.calc.graph import Graph
from calico.calc.messages import EndpointId
from calico.dataplane.flows.log_reader import FLOW_LOG_GROUP
from calico.dataplane.nft.reading import NftSocket
from calico.datastore.api import Backend, SyncStatus
from calico.datastore.barrier import Answer
from calico.datastore.connection import open_backend
from calico.datastore.sync.acceptance import accept_keys
from calico.datastore.sync.contact import watch_contact
from calico.datastore.sync.syncer import Syncer
from calico.errors import CalicoError
from calico.felix.applied_reporter import AppliedReporter, why_not_applied
from calico.felix.apply_loop import ApplyLoop
from calico.felix.audit import Audit
from calico.felix.config.settings import FelixConfig
from calico.felix.configuration import Configuration, FelixSettings
from calico.felix.counting import counts_now
from calico.felix.flows.service import FlowLogs
from calico.felix.flows.wiring import make_flow_logs, open_flow_reader
from calico.felix.health import Health
from calico.felix.host import Host, OnEndpointStatus, calc_settings
from calico.felix.inputs import Inputs
from calico.felix.metrics import Counts, Metrics
from calico.felix.mtu_file import MtuFile
from calico.felix.reporter import EndpointStatusReporter, HostStatusReporter
from calico.felix.status_files import DIRECTORY, EndpointStatusFiles
from calico.felix.steps import OnStep, unwatched
from calico.felix.tunnel_addresses import TunnelAddresses
from calico.felix.wireguard_keys import WireguardKeys
from calico.ipam.stored.keys import HOST_PREFIX
from calico.model.keys import RESOURCE_PREFIX
from calico.model.kubernetes.services import KUBERNETES_PREFIX
from calico.obs.conditions import Conditions
from calico.obs.listeners import Listeners
from calico.obs.log import set_level
from calico.obs.programmed import SOCKET as PROGRAMMED_SOCKET
from calico.obs.programmed import Programmed, ProgrammedServer, Question
from calico.obs.statussocket import StatusServer

__all__ = ["SETTINGS_RECORD", "FelixSettings", "run"]

log = structlog.get_logger(__name__)

SETTINGS_RECORD = "settings-before.jsonl"


async def run(
    settings: FelixSettings, *, on_step: OnStep = unwatched, nft_socket: Callable[[], NftSocket] | None = None
) -> None:
    """Run Felix until cancelled. What is in the kernel stays there. See ``Host`` and ``steps`` for what tests give."""
    log.info("felix starts", node=settings.node, version=__version__, etcd=settings.etcd.endpoints)
    wake = asyncio.Event()
    conditions = Conditions()
    configuration = Configuration(settings, conditions)

    def config() -> FelixConfig:
        return configuration.current

    backend = open_backend(settings.etcd)
    graph = Graph(settings.node, calc_settings(configuration.current))
    inputs = Inputs(settings.node, graph, conditions, wake.set)
    configuration.bind(inputs)
    syncer = follow(backend, settings.node, inputs)
    endpoint_reporter = EndpointStatusReporter(backend, settings.node, config)
    status_files = EndpointStatusFiles(status_directory(configuration.current, settings), conditions)
    flow_reader = open_flow_reader(configuration.current, conditions)
    host = Host(
        settings.node,
        configuration.current,
        conditions,
        wake.set,
        told_status(endpoint_reporter.on_status, status_files.on_status),
        endpoint_reporter.on_host_endpoint_status,
        on_step=on_step,
        nft_socket=nft_socket,
        settings_record=Path(settings.run_dir) / SETTINGS_RECORD,
        flow_log_group=FLOW_LOG_GROUP if flow_reader is not None else None,
        key_directory=Path(settings.run_dir),
    )
    inputs.watchers.append(host.migrations.on_resource)
    flow_logs = make_flow_logs(settings, flow_reader, inputs, host, conditions, config) if flow_reader else None
    configuration.programmed()

    def count() -> Counts:
        return counts_now(settings.node, inputs, apply_loop.progress, host, conditions, flow_logs)

    metrics = Metrics(count, with_process=lambda: config().metrics_process)
    apply_loop = ApplyLoop(graph, inputs, host, conditions, config, configuration.refresh, wake, on_step, metrics)
    audit = Audit(host, config, lambda: inputs.in_sync and apply_loop.progress.applies > 0)
    health = Health(config, inputs, apply_loop, conditions)
    listeners = Listeners({"/liveness": health.live, "/readiness": health.ready}, metrics.registry)
    host_reporter = HostStatusReporter(backend, settings.node, config, lambda: apply_loop.progress.applied_revision)
    applied_reporter = AppliedReporter(
        backend, settings.node, lambda: config().openstack_region, applied_answer(inputs, apply_loop, conditions)
    )
    programmed = ProgrammedServer(
        Path(settings.run_dir) / PROGRAMMED_SOCKET, endpoint_answer(inputs, apply_loop, host, conditions)
    )
    mtu_file = MtuFile(settings.mtu_file, conditions)
    status_files.bind(host.endpoint, lambda: inputs.in_sync and apply_loop.progress.applies > 0)
    apply_loop.on_applied = told(
        applied_reporter.on_applied,
        programmed.on_applied,
        status_files.on_applied,
        lambda: mtu_file.write(host.mtu),
    )
    configuration.listeners += [endpoint_reporter.on_config, host_reporter.on_config, health.on_config]
    configuration.listeners.append(lambda: host.on_config(configuration.current))
    configuration.listeners.append(lambda: set_level(config().log_level))
    set_level(config().log_level)
    tunnel_addresses = TunnelAddresses(
        backend,
        settings.node,
        inputs,
        conditions,
        lambda kind: calc_settings(config()).allows(kind),
    )
    wireguard_keys = WireguardKeys(backend, settings.node, inputs, conditions, host.wireguard)
    inputs.on_pools = told(tunnel_addresses.on_change, wireguard_keys.on_change)
    status = StatusServer(
        Path(settings.run_dir) / "felix.sock",
        status_document(settings, configuration, inputs, syncer, apply_loop, host, conditions, flow_logs),
    )

    host.guard()
    try:
        async with asyncio.TaskGroup() as services:
            services.create_task(status.run(), name="status")
            services.create_task(health.run(listeners), name="health")
            services.create_task(host.interfaces.run(), name="interfaces")
            services.create_task(syncer.run(), name="syncer")
            services.create_task(watch_contact(syncer, conditions), name="contact")
            services.create_task(apply_loop.run(), name="apply")
            services.create_task(audit.run(), name="audit")
            services.create_task(host.established.run(), name="established")
            services.create_task(endpoint_reporter.run(), name="endpoint-status")
            services.create_task(host_reporter.run(), name="host-status")
            services.create_task(applied_reporter.run(), name="applied-revision")
            services.create_task(programmed.run(), name="programmed")
            services.create_task(tunnel_addresses.run(), name="tunnel-addresses")
            services.create_task(wireguard_keys.run(), name="wireguard-keys")
            if configuration.current.endpoint_status_path != "none":
                services.create_task(status_files.run(), name="endpoint-files")
            if flow_logs is not None:
                services.create_task(flow_logs.run(), name="flow-logs")
                services.create_task(flow_logs.feed.run(), name="flow-feed")
    finally:
        host.close()
        await backend.close()
        log.info("felix stopped; routes and ruleset stay in the kernel")


def follow(backend: Backend, node: str, inputs: Inputs) -> Syncer:
    """Felix's syncer. Waits are for revisions of resources, and other prefixes have streams of their own."""
    return Syncer(
        backend,
        (RESOURCE_PREFIX, HOST_PREFIX, KUBERNETES_PREFIX),
        inputs,
        require_ready=True,
        accept_keys=accept_keys(node),
        revisions_of=RESOURCE_PREFIX,
    )


def applied_answer(inputs: Inputs, apply_loop: ApplyLoop, conditions: Conditions) -> Callable[[], Answer]:
    """What those are told who wait for a revision."""

    def answer() -> Answer:
        progress = apply_loop.progress
        in_sync = inputs.in_sync and progress.applies > 0 and inputs.status is SyncStatus.IN_SYNC
        return Answer(progress.applied_revision, why_not_applied(in_sync, inputs.reason, conditions))

    return answer


def status_directory(config: FelixConfig, settings: FelixSettings) -> Path:
    """Where endpoint status is written as files."""
    return Path(config.endpoint_status_path or settings.run_dir) / DIRECTORY


def told_status(*listeners: OnEndpointStatus) -> OnEndpointStatus:
    """One listener to endpoint status for several."""

    def tell(endpoint: EndpointId, status: str | None, reasons: tuple[str, ...]) -> None:
        for listener in listeners:
            listener(endpoint, status, reasons)

    return tell


def told(*listeners: Callable[[], None]) -> Callable[[], None]:
    """One listener for several."""

    def tell() -> None:
        for listener in listeners:
            listener()

    return tell


def endpoint_answer(
    inputs: Inputs, apply_loop: ApplyLoop, host: Host, conditions: Conditions
) -> Callable[[Question], Programmed]:
    """What those on this host are told who wait for an endpoint of theirs. What of others the kernel refused is not
    their concern; what of theirs it refused is denied."""
    applied = applied_answer(inputs, apply_loop, Conditions())

    def answer(question: Question) -> Programmed:
        state = applied()
        if not state.reaches(question.revision):
            return Programmed(why=state.why or f"the kernel is at revision {state.revision} of {question.revision}")
        found = host.endpoint_states.get(question.endpoint, "unknown to Felix") if question.endpoint else "up"
        if found == "up":
            return Programmed(done=True)
        reasons = [c.message for c in conditions if c.code == "endpoint-error" and c.object == question.endpoint]
        return Programmed(why=": ".join([f"the endpoint is {found}", *reasons]), error=found == "error")

    return answer


def staged_counts(host: Host) -> list[dict[str, Any]]:
    """What staged policies counted; nothing when the kernel cannot tell now."""
    try:
        return host.staged_counts()
    except CalicoError as error:
        log.warning("counts of staged policies cannot be read", error=str(error))
        return []


def status_document(
    settings: FelixSettings,
    configuration: Configuration,
    inputs: Inputs,
    syncer: Syncer,
    apply_loop: ApplyLoop,
    host: Host,
    conditions: Conditions,
    flow_logs: FlowLogs | None,
) -> Callable[[], dict[str, Any]]:
    """What the status socket answers."""
    started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def document() -> dict[str, Any]:
        progress = apply_loop.progress
        return {
            "component": "felix",
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
            "in_sync": inputs.in_sync and progress.applies > 0,
            "applied_revision": progress.applied_revision,
            "apply": {
                "count": progress.applies,
                "failures": progress.failures,
                "last_took_ms": round(progress.last_took_ms, 3),
            },
            "established": host.established.as_data(),
            "endpoints": dict(sorted(host.endpoint_states.items())),
            "host_endpoints": host.host_endpoints.as_data(),
            "flow_logs": flow_logs.as_data() if flow_logs is not None else None,
            "staged_policies": staged_counts(host),
            "tunnels": host.tunnels.as_data(),
            "encryption": host.wireguard.as_data(),
            "config": configuration.merged.as_data(),
            "conditions": conditions.as_data(),
        }

    return document
