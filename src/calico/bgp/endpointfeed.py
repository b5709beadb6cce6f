"""Follows the workload endpoints of one host, while somebody wants them.

Their keys begin with the namespace, so the store cannot select a host's: what is of other hosts is dropped here, before
it is remembered. That costs a listing of all endpoints, which is why it is done only where workloads speak BGP.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from calico.bgp.planning.localendpoints import ENDPOINTS_PREFIX, is_local_key
from calico.datastore.api import Backend, KeyValue, Listing, Op, Query, SyncerSink, WatchBatch
from calico.datastore.sync.acceptance import accept_keys
from calico.datastore.sync.syncer import Syncer

__all__ = ["EndpointFeed", "EndpointSink"]


class EndpointSink(SyncerSink, Protocol):
    """Who is told of the endpoints; ``on_start``: all of them anew, whatever was told before."""

    def on_start(self) -> None: ...


class EndpointFeed:
    """A syncer that runs while ``want(True)`` was said last; ``run`` never ends."""

    def __init__(self, backend: Backend, host: str) -> None:
        self._backend, self._host = _OfHost(backend, host), host
        self._wanted = asyncio.Event()
        self._unwanted = asyncio.Event()
        self.sink: EndpointSink | None = None

    def want(self, wanted: bool) -> None:
        """Say whether the endpoints are needed."""
        yes, no = (self._wanted, self._unwanted) if wanted else (self._unwanted, self._wanted)
        yes.set()
        no.clear()

    async def run(self) -> None:
        """Follow while wanted, for ever."""
        assert self.sink is not None
        while True:
            await self._wanted.wait()
            self.sink.on_start()
            keys = accept_keys(self._host)
            syncer = Syncer(self._backend, (ENDPOINTS_PREFIX,), self.sink, require_ready=True, accept_keys=keys)
            async with asyncio.TaskGroup() as group:
                following = group.create_task(syncer.run(), name="endpoints")
                await self._unwanted.wait()
                following.cancel()


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
