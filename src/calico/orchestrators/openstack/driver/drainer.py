"""Emptying the journal into etcd, for as long as the process lives; etcd's absence is waited out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from calico.errors import CalicoError
from calico.obs.logger import Logger
from calico.orchestrators.openstack.convert import Problem
from calico.orchestrators.openstack.driver import desired
from calico.orchestrators.openstack.driver.journal.claims import Claim, Work, claim, depth
from calico.orchestrators.openstack.driver.journal.recording import MIRRORED
from calico.orchestrators.openstack.driver.mirror import Mirror, Outcome
from tenacity import wait_random_exponential

__all__ = ["Drainer", "Drained"]

log = Logger(__name__)

_REPORT_S = 30.0
_BACKOFF = wait_random_exponential(multiplier=0.25, max=10)

Drained = Callable[[str, Sequence[Problem]], object]
"""Told of each port that was mirrored, with its problems."""


class Drainer:
    """``wake`` is called when there is news; otherwise the journal is looked at every ``poll_s``."""

    def __init__(self, mirror: Mirror, *, batch: int, poll_s: float, on_port: Drained) -> None:
        self._mirror, self._batch, self._poll_s, self._on_port = mirror, batch, poll_s, on_port
        self._news = asyncio.Event()
        self._failures = 0
        self._reported = 0.0

    def wake(self) -> None:
        """There may be something in the journal."""
        self._news.set()

    async def run(self) -> None:
        """Drain until cancelled."""
        while True:
            self._news.clear()
            try:
                drained = await self.drain()
                self._failures = 0
            except CalicoError as error:
                await self._back_off("etcd", str(error))
                continue
            except Exception as error:  # the database is away, or in the middle of a failover
                await self._back_off("database", repr(error))
                continue
            await self._report()
            if not drained:
                await self._idle()

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

    def _tell(self, work: Work, outcome: Outcome) -> None:
        if outcome.failed:
            log.error("calico_object_not_mirrored", kind=work.kind, id=work.identifier, reason=outcome.failed)
        for problem in outcome.problems:
            log.warning("calico_not_followed", code=problem.code, kind=problem.kind, id=problem.id, text=problem.text)
        if work.kind == "port" and not outcome.failed:
            self._on_port(work.identifier, outcome.problems)

    async def _idle(self) -> None:
        try:
            await asyncio.wait_for(self._news.wait(), self._poll_s)
        except TimeoutError:
            pass

    async def _back_off(self, what: str, reason: str) -> None:
        self._failures += 1
        pause = _BACKOFF(_Attempt(self._failures))
        log.warning("calico_journal_waits", what=what, reason=reason, pause_s=round(pause, 2))
        await self._report()
        await asyncio.sleep(pause)

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


class _Attempt:
    """What tenacity's waits look at."""

    def __init__(self, number: int) -> None:
        self.attempt_number = number


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
