"""The loop of controllers whose wishes come from the datastore as much as from the API: what both say is kept, and
everything is looked at again a moment after something changed, and now and then."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from calico.datastore.typed.ready import require_ready
from calico.datastore.typed.store import Store
from calico.errors import CalicoError
from calico.obs.logger import Logger
from calico.orchestrators.kubernetes.api.client import Client
from calico.orchestrators.kubernetes.api.informer import Informer, Key
from calico.orchestrators.kubernetes.controllers.fencing import Deposed

__all__ = ["Rounds"]

log = Logger(__name__)

_WATCH_AGAIN_S = 1.0
_FIRST_AGAIN_S, _LAST_AGAIN_S = 1.0, 60.0


class Rounds(ABC):
    """No round begins before all informers are synced and all prefixes were listed. A round that fails is repeated.

    ``Deposed`` ends it: another leads.
    """

    def __init__(
        self, name: str, store: Store, *, prefixes: Sequence[str] = (), period_s: float = 300.0, settle_s: float = 1.0
    ) -> None:
        self.name, self._store = name, store
        self._prefixes, self._period_s, self._settle_s = tuple(prefixes), period_s, settle_s
        self._informers: list[Informer] = []
        self._wake = asyncio.Event()
        self._unlisted = set(self._prefixes)
        self._listed = asyncio.Event()
        self._trouble = ""
        self.rounds = 0
        """How many were finished."""

    @abstractmethod
    async def look(self) -> None:
        """One round over everything."""

    def on_listed(self, prefix: str, values: dict[str, bytes]) -> None:
        """All that is stored under a prefix, also after the watch was lost."""
        for key, value in values.items():
            self.on_stored(prefix, key, value)

    def on_stored(self, prefix: str, key: str, value: bytes | None) -> bool:
        """A key changed or went; whether that asks for a round."""
        return True

    def on_object(self, key: Key) -> None:
        """An object of the API came, changed or went."""
        self.wake()

    def wake(self) -> None:
        """Have a round soon."""
        self._wake.set()

    def follow(self, client: Client, path: str, **options: Any) -> Informer:
        """An informer whose changes lead to ``on_object``."""
        informer = Informer(client, path, on_change=self.on_object, **options)
        self._informers.append(informer)
        return informer

    def troubles(self) -> list[str]:
        """Why it may be behind; empty when all is well."""
        found = [f"{self.name}: {i.path}: {i.trouble}" for i in self._informers if i.trouble]
        found += [f"{self.name}: {i.path} was not read yet" for i in self._informers if not i.synced.is_set()]
        return [*found, *([f"{self.name}: {self._trouble}"] if self._trouble else [])]

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for informer in self._informers:
                group.create_task(informer.run(), name=f"{self.name} {informer.path}")
            for prefix in self._prefixes:
                group.create_task(self._follow(prefix), name=f"{self.name} {prefix}")
            group.create_task(self._work(), name=self.name)

    async def _work(self) -> None:
        for informer in self._informers:
            await informer.synced.wait()
        if self._unlisted:
            await self._listed.wait()
        again_s = _FIRST_AGAIN_S
        while True:
            self._wake.clear()
            try:
                await require_ready(self._store.backend)
                await self.look()
                self._trouble, again_s, pause_s = "", _FIRST_AGAIN_S, self._period_s
                self.rounds += 1
            except Deposed:
                raise
            except CalicoError as error:
                if self._trouble != str(error):
                    log.warning("kubernetes_round_failed", controller=self.name, reason=str(error))
                self._trouble, pause_s, again_s = str(error), again_s, min(again_s * 2, _LAST_AGAIN_S)
            try:
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(self._settle_s)  # what changes together is looked at together

    async def _follow(self, prefix: str) -> None:
        while True:
            try:
                listing = await self._store.backend.list(prefix)
                self.on_listed(prefix, {kv.key: kv.value for kv in listing.items})
                self._unlisted.discard(prefix)
                if not self._unlisted:
                    self._listed.set()
                self.wake()
                async with aclosing(self._store.backend.watch(prefix, listing.revision + 1)) as batches:
                    async for batch in batches:
                        for update in batch.updates:
                            if self.on_stored(prefix, update.key, update.value):
                                self.wake()
            except CalicoError as error:
                log.info("kubernetes_datastore_not_followed", controller=self.name, reason=str(error))
            await asyncio.sleep(_WATCH_AGAIN_S)
