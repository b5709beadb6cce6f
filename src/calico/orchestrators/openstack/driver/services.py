"""The wiring of the worker: which services there are, and what each is given."""

from __future__ import annotations

import asyncio
import os

from calico.datastore.connection import open_backend
from calico.obs.logger import Logger
from calico.orchestrators.openstack.convert import Options
from calico.orchestrators.openstack.driver import settings
from calico.orchestrators.openstack.driver.drainer import Drainer
from calico.orchestrators.openstack.driver.mirror import Mirror
from calico.orchestrators.openstack.driver.poke import Bell
from oslo_config import cfg

__all__ = ["serve"]

log = Logger(__name__)


async def serve() -> None:
    """Mirror until cancelled."""
    section, region = cfg.CONF.calico, settings.region()
    backend = open_backend(settings.connection())
    mirror = Mirror(backend, Options(region=region))
    drainer = Drainer(
        mirror, batch=section.journal_batch, poll_s=section.journal_poll_s, on_port=lambda port, problems: None
    )
    bell = Bell(drainer.wake)
    loop = asyncio.get_running_loop()
    loop.add_reader(bell.file, bell.hear)
    log.info("calico_worker_started", pid=os.getpid(), region=region)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(drainer.run())
    finally:
        loop.remove_reader(bell.file)
        bell.close()
        await backend.close()
