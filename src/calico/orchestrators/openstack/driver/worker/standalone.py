"""The driver's worker as a program of its own, for Neutrons whose ``neutron-periodic-workers`` starts none.

Up to 2025.1 (26) that program runs on eventlet and starts no processes for plugins; nothing here does either.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence

from neutron import manager
from neutron.common import config as neutron_config
from oslo_config import cfg
from oslo_log import log as oslo_log

from calico.errors import InvalidInput

__all__ = ["run"]


def run(files: Sequence[str]) -> None:
    """Serve until SIGTERM or SIGINT. InvalidInput when the configuration is wrong."""
    arguments = [part for name in files for part in ("--config-file", name)]
    try:
        neutron_config.register_common_config_options()
        neutron_config.init(arguments)
    except cfg.Error as error:
        raise InvalidInput(str(error), subject="Neutron's configuration") from error
    oslo_log.setup(cfg.CONF, "neutron")
    manager.init()
    asyncio.run(_serve())


async def _serve() -> None:
    from calico.orchestrators.openstack.driver.worker.services import serve

    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await serve()
    except asyncio.CancelledError:
        pass
