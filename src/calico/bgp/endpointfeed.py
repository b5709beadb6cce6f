"""Follows the workload endpoints of one host, while somebody wants them.

Their keys begin with the namespace, so the store cannot select a host's: what is of other hosts is dropped here, before
it is remembered. That costs a listing of all endpoints, which is why it is done only where workloads speak BGP.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from calico.bgp.planning.localendpoints import ENDPOINTS_PREFIX, is_local_key
from calico.bgp.wantedfeed import WantedFeed
from calico.datastore.api import Backend, KeyValue, Listing, Op, Query, SyncerSink, WatchBatch

__all__ = ["EndpointFeed", "EndpointSink"]


class EndpointSink(SyncerSink, Protocol):
    """Who is told of the endpoints; ``on_start``: all of them anew, whatever was told before."""

    def on_start(self) -> None: ...


class EndpointFeed(WantedFeed):
    """``run`` never ends."""

    def __init__(self, backend: Backend, host: str) -> None:
        super().__init__(_OfHost(backend, host), host, (ENDPOINTS_PREFIX,))
        self.sink: EndpointSink | None = None

    async def run(self) -> None:
        """Follow while wanted, for ever."""
        assert self.sink is not None
        while True:
            await self.until_wanted()
            self.sink.on_start()
            await self.follow(self.sink)


class _OfHost:
    """A backend that shows one host's endpoints only."""

    def __init__(self, backend: Backend, host: str) -> None:
        self._backend, self._host = backend, host

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        return await self._backend.get(key, revision=revision)

    async def list(self, prefix: str, *, revision: int = 0, created_after: int = 0) -> Listing:
        found = await self._backend.list(prefix, revision=revision, created_after=created_after)
        items = tuple(kv for kv in found.items if is_local_key(kv.key, self._host))
        return Listing(items, found.revision, found.cluster_id)

    async def read(self, queries: Sequence[Query]) -> tuple[tuple[KeyValue, ...], ...]:
        answers = await self._backend.read(queries)
        return tuple(tuple(kv for kv in found if is_local_key(kv.key, self._host)) for found in answers)

    async def revision(self) -> tuple[int, int]:
        return await self._backend.revision()

    async def txn(self, ops: Sequence[Op]) -> int:
        return await self._backend.txn(ops)

    async def watch(self, prefix: str, from_revision: int) -> AsyncGenerator[WatchBatch, None]:
        async with contextlib.aclosing(self._backend.watch(prefix, from_revision)) as batches:
            async for batch in batches:
                updates = tuple(update for update in batch.updates if is_local_key(update.key, self._host))
                yield WatchBatch(updates, batch.revision)

    async def grant(self, ttl_s: int) -> int:
        return await self._backend.grant(ttl_s)

    async def keepalive(self, lease: int) -> int:
        return await self._backend.keepalive(lease)

    async def revoke(self, lease: int) -> None:
        await self._backend.revoke(lease)

    async def close(self) -> None:
        await self._backend.close()
