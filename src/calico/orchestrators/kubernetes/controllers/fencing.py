"""Why a leader that was paused writes nothing: a key in etcd that each new leader rewrites, and every write compares.

The Lease in Kubernetes decides who leads; etcd cannot see it. So whoever got the Lease rewrites the key, and writes
only in transactions that hold while the key is as he wrote it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from calico.datastore.api import Backend, CompareFailed, KeyValue, Listing, Op, Query, WatchBatch
from calico.errors import CalicoError

__all__ = ["FENCE_KEY", "Deposed", "FencedBackend", "take_fence"]

FENCE_KEY = "/calico/kubecontrollers/v1/leader"


class Deposed(CalicoError):
    """Another leads by now; what was to be written was not."""


async def take_fence(backend: Backend, identity: str, is_ours: Callable[[], Awaitable[bool]]) -> Op:
    """The condition of all writes of a new leader; Deposed when the Lease was lost or another was faster.

    The key is read before the Lease is looked at again: whoever got the Lease after that look changes the key after
    our reading it, and then our write of it fails.
    """
    there = await backend.get(FENCE_KEY)
    if not await is_ours():
        raise Deposed("the lease was lost before anything was written")
    try:
        revision = await backend.txn([Op(FENCE_KEY, identity.encode(), expect=there.mod_revision if there else 0)])
    except CompareFailed as error:
        raise Deposed("another leader wrote the fence meanwhile") from error
    return Op(FENCE_KEY, expect=revision, check_only=True)


class FencedBackend:
    """A datastore in which all writes fail, as Deposed, once another leader has rewritten the fence."""

    def __init__(self, backend: Backend, fence: Op) -> None:
        self._backend, self._fence = backend, fence

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        return await self._backend.get(key, revision=revision)

    async def list(self, prefix: str, *, revision: int = 0, created_after: int = 0) -> Listing:
        return await self._backend.list(prefix, revision=revision, created_after=created_after)

    async def read(self, queries: Sequence[Query]) -> tuple[tuple[KeyValue, ...], ...]:
        return await self._backend.read(queries)

    async def revision(self) -> tuple[int, int]:
        return await self._backend.revision()

    async def txn(self, ops: Sequence[Op]) -> int:
        """As the datastore's; Deposed when the fence is not ours any more."""
        try:
            return await self._backend.txn([*ops, self._fence])
        except CompareFailed as error:
            there = error.current.get(FENCE_KEY)
            if FENCE_KEY in error.current and (there is None or there.mod_revision != self._fence.expect):
                raise Deposed("another leader has taken over") from error
            raise

    def watch(self, prefix: str, from_revision: int) -> AsyncGenerator[WatchBatch, None]:
        return self._backend.watch(prefix, from_revision)

    async def grant(self, ttl_s: int) -> int:
        return await self._backend.grant(ttl_s)

    async def keepalive(self, lease: int) -> int:
        return await self._backend.keepalive(lease)

    async def revoke(self, lease: int) -> None:
        await self._backend.revoke(lease)

    async def close(self) -> None:
        """The datastore is the owner's."""
