"""The leader's audit: whatever reaches etcd past the journal, or got lost before it, is found and mirrored again."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from calico.datastore.api import Backend
from calico.obs.logger import Logger
from calico.orchestrators.openstack.convert import Options
from calico.orchestrators.openstack.driver.comparison import find_drift
from calico.orchestrators.openstack.driver.journal.recording import record_works
from calico.orchestrators.openstack.driver.worker.metrics import WorkerMetrics

__all__ = ["Auditor"]

log = Logger(__name__)

_RETRY_S = 30.0


class Auditor:
    """Compares everything now and every ``interval_s``; what differs is put in the journal, and ``wake`` is called."""

    def __init__(
        self, backend: Backend, options: Options, metrics: WorkerMetrics, interval_s: float, wake: Callable[[], object]
    ) -> None:
        self._backend, self._options, self._interval_s, self._wake = backend, options, interval_s, wake
        self._metrics = metrics

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.audit()
                pause = self._interval_s
            except Exception as error:  # etcd or the database is away: the next one comes
                self._metrics.on_audit_failed()
                log.warning("calico_audit_failed", reason=repr(error))
                pause = min(_RETRY_S, self._interval_s)
            await asyncio.sleep(pause)

    async def audit(self) -> int:
        """Compare once; how many objects were found wrong."""
        started = time.monotonic()
        found, compared = await find_drift(self._backend, self._options)
        for drift in found:
            fields = [difference.field for change in drift.changes for difference in change.differences]
            verdicts = sorted({change.verdict for change in drift.changes})
            log.warning("calico_drift", kind=drift.kind, id=drift.identifier, what=verdicts, fields=fields[:10])
        if found:
            await asyncio.to_thread(record_works, [drift.work() for drift in found])
            self._wake()
        took_s = time.monotonic() - started
        self._metrics.on_audit(compared, Counter(drift.kind for drift in found), took_s)
        log.info("calico_audit", compared=compared, drift=len(found), took_ms=round(took_s * 1000))
        return len(found)
