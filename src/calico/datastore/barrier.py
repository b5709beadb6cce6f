"""Waiting until hosts have a revision in their kernels. Costs nothing while nobody waits.

Who waits puts the revision, leased, under ``ASK_PREFIX``. Every Felix watches that prefix and answers under its own
status keys, at once and again when it got further, until the revision asked for is in its kernel.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing, suppress

import msgspec

from calico.datastore.api import Backend, Op
from calico.errors import CalicoError, NotFound, ResyncRequired, Transient

__all__ = ["ANSWER_TTL_S", "ASK_PREFIX", "Answer", "Ask", "Realisation", "answer_key", "wait_for_hosts"]

ASK_PREFIX = "/calico/wait/v1/"
ANSWER_TTL_S = 60
_ASK_TTL_S = 15
_FELIX_PREFIX = "/calico/felix/v2/"
_ANSWER = re.compile(r"/calico/felix/v2/[^/]+/host/([^/]+)/applied")
_RETRY_S = 0.2
_SILENT = "does not answer: Felix is not running there, or cannot reach the datastore"


class Ask(msgspec.Struct, frozen=True):
    """The revision waited for."""

    revision: int


class Answer(msgspec.Struct, frozen=True):
    """How far a host's kernel follows the datastore; ``why`` is empty when all of that revision is in it."""

    revision: int
    why: str = ""

    def reaches(self, revision: int) -> bool:
        """Whether the revision is in the host's kernel, whole."""
        return self.revision >= revision and not self.why


class Realisation(msgspec.Struct, frozen=True):
    """What became of a revision: seconds until each host had it (since the wait began), and who lags and why."""

    revision: int
    reached: Mapping[str, float]
    lagging: Mapping[str, str]

    @property
    def complete(self) -> bool:
        """Whether every host has it."""
        return not self.lagging


def answer_key(host: str, region: str = "") -> str:
    """Where a host's Felix answers: beside its status keys (data model §2.2)."""
    return f"{_FELIX_PREFIX}{f'region-{region}' if region else 'no-region'}/host/{host}/applied"


async def wait_for_hosts(
    backend: Backend,
    revision: int,
    hosts: Iterable[str],
    timeout_s: float,
    on_progress: Callable[[Realisation], object] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> Realisation:
    """Ask the hosts for ``revision`` and return when all have it, or after ``timeout_s``.

    ``on_progress`` is called after each answer. Transient when the datastore could not be asked at all.
    """
    wait = _Wait(backend, revision, dict.fromkeys(hosts, _SILENT), on_progress, clock)
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await wait.run()
    return wait.state


class _Wait:
    """One wait: the ask, kept while it lasts, and what was answered so far."""

    def __init__(
        self,
        backend: Backend,
        revision: int,
        lagging: dict[str, str],
        on_progress: Callable[[Realisation], object],
        clock: Callable[[], float],
    ) -> None:
        self._backend, self._revision, self._clock = backend, revision, clock
        self._on_progress = on_progress
        self._key = ASK_PREFIX + secrets.token_hex(6)
        self._began = clock()
        self._lease = 0
        self._lagging, self._reached = lagging, dict[str, float]()

    @property
    def state(self) -> Realisation:
        return Realisation(self._revision, dict(self._reached), dict(self._lagging))

    async def run(self) -> None:
        """Until every host has answered that it is there."""
        start, _ = await self._backend.revision()
        await self._ask()
        keeper = asyncio.create_task(self._keep())
        try:
            while self._lagging:
                try:
                    start = await self._follow(start)
                except ResyncRequired:
                    start, _ = await self._backend.revision()
                    await self._ask()  # what was answered meanwhile is lost: ask again
                except Transient:
                    await asyncio.sleep(_RETRY_S)
        finally:
            keeper.cancel()
            with suppress(CalicoError):
                await self._backend.revoke(self._lease)

    async def _ask(self) -> None:
        self._lease = await self._backend.grant(_ASK_TTL_S)
        ask = msgspec.json.encode(Ask(self._revision))
        await self._backend.txn([Op(self._key, ask, lease=self._lease)])

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(_ASK_TTL_S / 3)
            try:
                await self._backend.keepalive(self._lease)
            except NotFound:
                with suppress(CalicoError):
                    await self._ask()
            except CalicoError:
                pass  # tried again

    async def _follow(self, start: int) -> int:
        async with aclosing(self._backend.watch(_FELIX_PREFIX, start + 1)) as batches:
            async for batch in batches:
                start = max(start, batch.revision)
                for update in batch.updates:
                    self._on_answer(update.key, update.value)
                if not self._lagging:
                    break
        return start

    def _on_answer(self, key: str, value: bytes | None) -> None:
        match = _ANSWER.fullmatch(key)
        if match is None or value is None or match[1] not in self._lagging:
            return
        try:
            answer = msgspec.json.decode(value, type=Answer)
        except msgspec.DecodeError:
            self._lagging[match[1]] = "its answer cannot be read"
            return
        if answer.reaches(self._revision):
            del self._lagging[match[1]]
            self._reached[match[1]] = self._clock() - self._began
        else:
            self._lagging[match[1]] = answer.why or f"its kernel is at revision {answer.revision}"
        self._on_progress(self.state)
