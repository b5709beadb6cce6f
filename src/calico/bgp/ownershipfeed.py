"""Follows which addresses are whose, while somebody wants it: a reflector that takes from clients their own routes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from calico.bgp.planning.ownership import OWNERSHIP_PREFIXES, Owned, OwnershipView
from calico.bgp.problem import Problem
from calico.datastore.api import Backend, SyncStatus, Update
from calico.datastore.sync.acceptance import accept_keys
from calico.datastore.sync.syncer import Syncer

__all__ = ["OwnershipFeed"]


class OwnershipFeed:
    """A syncer that runs while ``want(True)`` was said last; ``run`` never ends. ``on_change`` is called when what is
    known here has changed: ``owned``, what of it cannot be read, and why it is not known."""

    def __init__(self, backend: Backend, host: str) -> None:
        self._backend, self._host = backend, host
        self._wanted = asyncio.Event()
        self._unwanted = asyncio.Event()
        self._view = OwnershipView()
        self.known = False
        self.trouble = ""
        self.owned: Mapping[str, Owned] = {}
        self.problems: tuple[Problem, ...] = ()
        self.on_change: Callable[[], None] = lambda: None

    def want(self, wanted: bool) -> None:
        """Say whether it is needed."""
        yes, no = (self._wanted, self._unwanted) if wanted else (self._unwanted, self._wanted)
        yes.set()
        no.clear()

    async def run(self) -> None:
        """Follow while wanted, for ever."""
        while True:
            await self._wanted.wait()
            keys = accept_keys(self._host)
            syncer = Syncer(self._backend, OWNERSHIP_PREFIXES, self, require_ready=True, accept_keys=keys)
            async with asyncio.TaskGroup() as group:
                following = group.create_task(syncer.run(), name="ownership")
                await self._unwanted.wait()
                following.cancel()
            self._view, self.known, self.trouble, self.owned, self.problems = OwnershipView(), False, "", {}, ()

    def on_status(self, status: SyncStatus, reason: str = "") -> None:
        """Part of ``SyncerSink``. What was known stays so when the datastore is away."""
        before = self.known, self.trouble
        self.trouble = "" if status is SyncStatus.IN_SYNC else reason or self.trouble
        if status is SyncStatus.IN_SYNC and not self.known:
            self.known = True
            self._tell()
        elif before != (self.known, self.trouble):
            self.on_change()

    def on_updates(self, updates: Sequence[Update], revision: int) -> None:
        """Part of ``SyncerSink``; what is nobody else's business is told to nobody."""
        if self._view.apply(updates) and self.known:
            self._tell()

    def _tell(self) -> None:
        self.owned, self.problems = self._view.owned(), self._view.problems()
        self.on_change()
