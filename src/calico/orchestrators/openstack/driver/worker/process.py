"""The process that ``neutron-periodic-workers`` starts for the driver: the only one that talks to etcd.

Its services are tasks of one event loop in a thread of its own; what asks the database does so in further threads.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

from neutron_lib.worker import BaseWorker

from calico.obs.logger import Logger

__all__ = ["CalicoWorker"]

log = Logger(__name__)


class CalicoWorker(BaseWorker):
    """A worker with a process of its own, for ``wait`` blocks."""

    def __init__(self) -> None:
        super().__init__(worker_process_count=1, desc="calico worker")
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None

    def start(self, **kwargs: Any) -> None:
        super().start(desc="calico worker")
        self._thread = threading.Thread(target=self._run, name="calico", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask the services to end: leases are given back."""
        if self._loop is not None and self._main is not None:
            self._loop.call_soon_threadsafe(self._main.cancel)

    def wait(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def reset(self) -> None:
        """Settings are read at the start only."""

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception:
            log.exception("calico_worker_failed")
            os._exit(1)  # the launcher starts another

    async def _serve(self) -> None:
        from calico.orchestrators.openstack.driver.worker.services import serve

        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        try:
            await serve()
        except asyncio.CancelledError:
            log.info("calico_worker_ended")
