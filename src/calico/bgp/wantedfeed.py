"""Following a part of the datastore that only some hosts need, and only for a time."""

from __future__ import annotations

import asyncio

from calico.datastore.api import Backend, SyncerSink
from calico.datastore.sync.acceptance import accept_keys
from calico.datastore.sync.syncer import Syncer

__all__ = ["WantedFeed"]


class WantedFeed:
    """A syncer of ``prefixes`` that runs while ``want(True)`` was said last."""

    def __init__(self, backend: Backend, host: str, prefixes: tuple[str, ...]) -> None:
        self._backend, self._host, self._prefixes = backend, host, prefixes
        self._wanted = asyncio.Event()
        self._unwanted = asyncio.Event()

    def want(self, wanted: bool) -> None:
        """Say whether it is needed."""
        yes, no = (self._wanted, self._unwanted) if wanted else (self._unwanted, self._wanted)
        yes.set()
        no.clear()

    async def until_wanted(self) -> None:
        """Return once it is needed."""
        await self._wanted.wait()

    async def follow(self, sink: SyncerSink) -> None:
        """Tell ``sink`` everything, and what changes, until it is needed no more."""
        keys = accept_keys(self._host)
        syncer = Syncer(self._backend, self._prefixes, sink, require_ready=True, accept_keys=keys)
        async with asyncio.TaskGroup() as group:
            following = group.create_task(syncer.run(), name=type(self).__name__)
            await self._unwanted.wait()
            following.cancel()
