"""Emptying the journal into etcd, for as long as the process lives; etcd's absence is waited out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from tenacity import AsyncRetrying, RetryCallState, wait_random_exponential

from calico.obs.logger import Logger
from calico.orchestrators.openstack.driver import desired
from calico.orchestrators.openstack.driver.journal.claims import Claim, claim, depth
from calico.orchestrators.openstack.driver.journal.recording import MIRRORED, PORT, Work
from calico.orchestrators.openstack.driver.worker.feedback import report_denied
from calico.orchestrators.openstack.driver.worker.metrics import WorkerMetrics
from calico.orchestrators.openstack.driver.worker.mirror import Mirror, Outcome

__all__ = ["Drainer"]

log = Logger(__name__)

_REPORT_S = 30.0
_BACKOFF_MAX_S = 10.0


class Drainer:
    """``wake`` is called when there is news; otherwise the journal is looked at every ``poll_s``."""

    def __init__(self, mirror: Mirror, metrics: WorkerMetrics, *, batch: int, poll_s: float) -> None:
        self._mirror, self._metrics, self._batch, self._poll_s = mirror, metrics, batch, poll_s
        self._news = asyncio.Event()
        self._reported = 0.0

    def wake(self) -> None:
        """There may be something in the journal."""
        self._news.set()

    async def run(self) -> None:
        """Drain until cancelled. While etcd or the database is away, tries come ever less often, up to every 10 s."""
        while True:
            self._news.clear()
            drained = await self._until_done()
            await self._report()
            if not drained:
                await self._idle()

    async def _until_done(self) -> int:
        async for attempt in AsyncRetrying(
            wait=wait_random_exponential(multiplier=0.25, max=_BACKOFF_MAX_S), before_sleep=self._on_failure
        ):
            with attempt:
                return await self.drain()
        raise AssertionError("unreachable")

    async def _on_failure(self, state: RetryCallState) -> None:
        reason = state.outcome.exception() if state.outcome is not None else None
        self._metrics.on_retry()
        log.warning("calico_journal_waits", reason=str(reason) or repr(reason), pause_s=round(state.upcoming_sleep, 2))
        await self._report()

    async def drain(self) -> int:
        """Mirror one claim of the journal; how many objects it had."""
        claimed = await asyncio.to_thread(claim, self._batch, _now())
        try:
            if claimed.works:
                await self._work(claimed)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(claimed.close, keep=True))
            raise
        await asyncio.to_thread(claimed.close)
        return len(claimed.works)

    async def _work(self, claimed: Claim) -> None:
        mirrored = [work for work in claimed.works if work.kind in MIRRORED]
        spread = [work for work in claimed.works if work.kind not in MIRRORED]
        outcomes = await self._mirror.mirror(mirrored) if mirrored else {}
        dependent = await asyncio.to_thread(desired.dependent_works, spread) if spread else {}
        await asyncio.to_thread(_settle, claimed, outcomes, spread, dependent)
        if any(dependent.values()):
            self.wake()
        for work, outcome in outcomes.items():
            self._tell(work, outcome)
        denied = [work.identifier for work, outcome in outcomes.items() if work.kind == PORT and _is_denied(outcome)]
        if denied:
            await asyncio.to_thread(report_denied, denied)

    def _tell(self, work: Work, outcome: Outcome) -> None:
        if outcome.failed:
            self._metrics.on_failure(work.kind)
            log.error("calico_object_not_mirrored", kind=work.kind, id=work.identifier, reason=outcome.failed)
        else:
            self._metrics.on_mirrored(work.kind)
        for problem in outcome.problems:
            self._metrics.on_not_followed(problem.code)
            log.warning("calico_not_followed", code=problem.code, kind=problem.kind, id=problem.id, text=problem.text)

    async def _idle(self) -> None:
        try:
            async with asyncio.timeout(self._poll_s):
                await self._news.wait()
        except TimeoutError:
            pass

    async def _report(self) -> None:
        """Say how much waits, when something has waited for long."""
        if time.monotonic() - self._reported < _REPORT_S:
            return
        self._reported = time.monotonic()
        try:
            waiting = await asyncio.to_thread(depth)
        except Exception as error:
            log.warning("calico_journal_unknown", reason=repr(error))
            return
        tell = log.warning if waiting.oldest_s > _REPORT_S else log.debug
        tell("calico_journal", depth=waiting.entries, oldest_s=round(waiting.oldest_s, 1))


def _settle(
    claimed: Claim, outcomes: dict[Work, Outcome], spread: Sequence[Work], dependent: dict[str, set[str]]
) -> None:
    now = _now()
    for work, outcome in outcomes.items():
        if outcome.failed:
            claimed.later(work, outcome.failed, now)
    for kind, identifiers in dependent.items():
        claimed.more(kind, sorted(identifiers))
    claimed.done([work for work, outcome in outcomes.items() if not outcome.failed] + list(spread))


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _is_denied(outcome: Outcome) -> bool:
    """Whether the port cannot work as it is asked for."""
    return any(problem.severity == "denied" for problem in outcome.problems)
