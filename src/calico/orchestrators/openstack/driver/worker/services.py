"""The wiring of the worker: which services there are, and what each is given."""

from __future__ import annotations

import asyncio
import os

from oslo_config import cfg

from calico.datastore.connection import open_backend
from calico.obs.listeners import Listeners, MetricsWanted
from calico.obs.logger import Logger
from calico.orchestrators.openstack import naming
from calico.orchestrators.openstack.driver import settings
from calico.orchestrators.openstack.driver.journal.claims import waiting
from calico.orchestrators.openstack.driver.journal.recording import ISOLATION, OTHERS, Work, record_works
from calico.orchestrators.openstack.driver.poke import Bell
from calico.orchestrators.openstack.driver.worker.agents import Agents
from calico.orchestrators.openstack.driver.worker.audit import Auditor
from calico.orchestrators.openstack.driver.worker.drainer import Drainer
from calico.orchestrators.openstack.driver.worker.leader import Leader, Term
from calico.orchestrators.openstack.driver.worker.metrics import WorkerMetrics
from calico.orchestrators.openstack.driver.worker.mirror import Mirror
from calico.orchestrators.openstack.driver.worker.prepare import prepare
from calico.orchestrators.openstack.driver.worker.watcher import StatusWatcher

__all__ = ["serve"]

log = Logger(__name__)

_LISTEN_AGAIN_S = 10.0


async def _isolate(drainer: Drainer) -> None:
    """The region's policy that denies is of no object, so that no change of one would write it."""
    await asyncio.to_thread(record_works, [Work(ISOLATION, OTHERS)])
    drainer.wake()


async def serve() -> None:
    """Mirror until cancelled; of all workers of the region one is the leader, who follows what hosts report."""
    section, options, region = cfg.CONF.calico, settings.options(), settings.region()
    backend = open_backend(settings.connection())
    mirror = Mirror(backend, options)
    metrics = WorkerMetrics(waiting)
    drainer = Drainer(mirror, metrics, batch=section.journal_batch, poll_s=section.journal_poll_s)

    async def lead(term: Term) -> None:
        agents = Agents(section.agent_report_interval_s)
        watcher = StatusWatcher(backend, options, agents, term, programmed=section.require_programmed_revision)
        metrics.on_leading(True)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(prepare(backend))
                if options.isolation != "none":
                    tasks.create_task(_isolate(drainer))
                tasks.create_task(agents.run())
                tasks.create_task(watcher.run())
                if section.audit_interval_s:
                    auditor = Auditor(backend, options, metrics, section.audit_interval_s, drainer.wake)
                    tasks.create_task(auditor.run())
        finally:
            metrics.on_leading(False)

    name = f"{cfg.CONF.host}:{os.getpid()}"
    leader = Leader(backend, naming.election_key(region), name, section.election_ttl_s, lead)
    bell = Bell(drainer.wake)
    loop = asyncio.get_running_loop()
    loop.add_reader(bell.file, bell.hear)
    log.info("calico_worker_started", pid=os.getpid(), region=region)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(drainer.run())
            tasks.create_task(leader.run())
            tasks.create_task(_offer(metrics, settings.metrics_wanted()))
    finally:
        loop.remove_reader(bell.file)
        bell.close()
        await backend.close()


async def _offer(metrics: WorkerMetrics, wanted: MetricsWanted | None) -> None:
    """Until cancelled. An address that another worker has is tried again, so that one of them is always heard."""
    if wanted is None:
        return
    listeners = Listeners({}, metrics.registry)
    told = ""
    try:
        while True:
            listeners.want({wanted})
            trouble = "; ".join(listeners.troubles.values())
            if trouble and trouble != told:
                log.warning("calico_metrics_not_offered", address=f"{wanted.host}:{wanted.port}", reason=trouble)
            told = trouble
            await asyncio.sleep(_LISTEN_AGAIN_S)
    finally:
        listeners.close()
