"""Answers who waits for a revision (``calico.datastore.barrier``): how far this host's kernel follows the datastore.

Nothing is written while nobody waits. A wait costs one answer when it is asked and one when it is reached; a host that
lags says so again when the reason changes, at most every ``_PAUSE_S``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import msgspec
import structlog

from calico.datastore.api import Backend
from calico.datastore.barrier import ANSWER_TTL_S, ASK_PREFIX, Answer, Ask, answer_key
from calico.datastore.lease import put_with_ttl
from calico.errors import CalicoError
from calico.obs.conditions import Conditions

__all__ = ["AppliedReporter", "why_not_applied"]

log = structlog.get_logger(__name__)

_PAUSE_S = 0.1
_RETRY_S = 1.0
_REFUSED_RETRY_S = 30.0
_DATAPLANE = ("dataplane-rejected", "dataplane-retrying")


def why_not_applied(in_sync: bool, reason: str, conditions: Conditions) -> str:
    """Why a revision that was seen is not, or not all, in the kernel; empty when it is."""
    if not in_sync:
        return f"the datastore is not followed: {reason}" if reason else "has not programmed its kernel yet"
    failing = [f"{c.code} {c.object}: {c.message}" for c in conditions if c.code in _DATAPLANE]
    return "; ".join(failing[:3]) + (f" and {len(failing) - 3} more" if len(failing) > 3 else "")


class AppliedReporter:
    """Answers for ``node`` with what ``state`` says; ``region`` is the OpenStack region at the time."""

    def __init__(self, backend: Backend, node: str, region: Callable[[], str], state: Callable[[], Answer]) -> None:
        self._backend, self._node, self._region, self._state = backend, node, region, state
        self._asks: dict[str, int] = {}
        self._due: set[str] = set()
        self._told: Answer | None = None
        self._wake = asyncio.Event()

    def on_applied(self) -> None:
        """The kernel was programmed, or that failed."""
        if self._asks:
            self._wake.set()

    async def run(self) -> None:
        """Watch for questions and answer them until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._answer())

    async def _listen(self) -> None:
        while True:
            try:
                listing = await self._backend.list(ASK_PREFIX)
                self._asks.clear()
                for item in listing.items:
                    self._on_ask(item.key, item.value)
                async with aclosing(self._backend.watch(ASK_PREFIX, listing.revision + 1)) as batches:
                    async for batch in batches:
                        for update in batch.updates:
                            self._on_ask(update.key, update.value)
            except CalicoError as error:
                log.info("questions for the applied revision are not heard", reason=str(error))
                await asyncio.sleep(_REFUSED_RETRY_S if "lacks the right" in str(error) else _RETRY_S)

    def _on_ask(self, key: str, value: bytes | None) -> None:
        self._asks.pop(key, None)
        self._due.discard(key)
        if value is None:
            return
        try:
            self._asks[key] = msgspec.json.decode(value, type=Ask).revision
        except msgspec.DecodeError:
            log.warning("a question for the applied revision cannot be read", key=key)
            return
        self._due.add(key)
        self._wake.set()

    async def _answer(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            answer = self._state()
            if not self._is_news(answer):
                continue
            due = set(self._due)
            try:
                key = answer_key(self._node, self._region())
                await put_with_ttl(self._backend, key, msgspec.json.encode(answer), ANSWER_TTL_S)
            except CalicoError as error:
                log.warning("the applied revision was not reported", error=str(error))
                self._wake.set()
                await asyncio.sleep(_RETRY_S)
                continue
            self._told = answer
            self._due -= due
            await asyncio.sleep(_PAUSE_S)

    def _is_news(self, answer: Answer) -> bool:
        """Whether somebody waits for this answer: a new question, or one that the last answer left open."""
        if self._due:
            return True
        told = self._told
        if told is None or answer == told:
            return False
        open_asks = [revision for revision in self._asks.values() if not told.reaches(revision)]
        return any(answer.reaches(revision) for revision in open_asks) or (bool(open_asks) and answer.why != told.why)
