"""Follows which addresses are whose, while somebody wants it: a reflector that takes from clients their own routes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from calico.bgp.planning.ownership import OWNERSHIP_PREFIXES, Owned, OwnershipView
from calico.bgp.problem import Problem
from calico.bgp.wantedfeed import WantedFeed
from calico.datastore.api import Backend, SyncStatus, Update

__all__ = ["OwnershipFeed"]


class OwnershipFeed(WantedFeed):
    """``run`` never ends. ``on_change`` is called when what is known here has changed: ``owned``, what of it cannot be
    read, and why it is not known."""

    def __init__(self, backend: Backend, host: str) -> None:
        super().__init__(backend, host, OWNERSHIP_PREFIXES)
        self._view = OwnershipView()
        self.known = False
        self.trouble = ""
        self.owned: Mapping[str, Owned] = {}
        self.problems: tuple[Problem, ...] = ()
        self.on_change: Callable[[], None] = lambda: None

    async def run(self) -> None:
        """Follow while wanted, for ever."""
        while True:
            await self.until_wanted()
            await self.follow(self)
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
