"""A backend that reads through to another and keeps what is written to itself: what would be, without doing it.

Every compare-and-swap is judged as the store would judge it now, so references, cascades and versions are checked.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from calico.datastore.api import Backend, KeyValue, Listing, Op, Query, WatchBatch
from calico.datastore.ops import check_ops, compare_failed
from calico.errors import InvalidInput

__all__ = ["Rehearsal"]


class Rehearsal:
    """A ``Backend`` over ``real``. Its writes get revisions above the store's present one. Leases and watches are of
    no use here and are InvalidInput."""

    def __init__(self, real: Backend) -> None:
        self._real = real
        self._written: dict[str, KeyValue | None] = {}
        self._revision = 0

    @property
    def written(self) -> dict[str, KeyValue | None]:
        """What each written key would hold; None: it would be gone."""
        return dict(self._written)

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        """The key as written here, else as the store has it."""
        if key in self._written:
            return self._written[key]
        return await self._real.get(key, revision=revision)

    async def list(self, prefix: str, *, revision: int = 0, created_after: int = 0) -> Listing:
        """The store's listing with what was written here."""
        found = await self._real.list(prefix, revision=revision, created_after=created_after)
        items = {item.key: item for item in found.items}
        for key, value in self._written.items():
            if key.startswith(prefix):
                items.pop(key, None)
                if value is not None and value.create_revision > created_after:
                    items[key] = value
        ordered = tuple(items[key] for key in sorted(items))
        return Listing(ordered, max(found.revision, self._revision), found.cluster_id)

    async def read(self, queries: Sequence[Query]) -> tuple[tuple[KeyValue, ...], ...]:
        """The store's answers with what was written here."""
        return tuple([await self._answer(query) for query in queries])

    async def _answer(self, query: Query) -> tuple[KeyValue, ...]:
        if query.prefix:
            return (await self.list(query.key)).items
        found = await self.get(query.key)
        return (found,) if found is not None else ()

    async def revision(self) -> tuple[int, int]:
        """The store's revision, or that of the last write here."""
        revision, cluster = await self._real.revision()
        return max(revision, self._revision), cluster

    async def txn(self, ops: Sequence[Op]) -> int:
        """Judge the expectations against what is, and remember the writes."""
        check_ops(ops)
        current = {op.key: await self.get(op.key) for op in ops}
        expected = {op.key: current[op.key] for op in ops if op.expect is not None}
        if any(op.expect != _revision_of(current[op.key]) for op in ops if op.expect is not None):
            raise compare_failed(ops, expected)
        self._revision = (await self.revision())[0] + 1
        for op in ops:
            if not op.check_only:
                self._written[op.key] = self._next(op, current[op.key])
        return self._revision

    def _next(self, op: Op, old: KeyValue | None) -> KeyValue | None:
        if op.value is None:
            return None
        created, version = (old.create_revision, old.version + 1) if old else (self._revision, 1)
        return KeyValue(op.key, op.value, self._revision, created, version)

    def watch(self, prefix: str, from_revision: int) -> AsyncGenerator[WatchBatch, None]:
        """Not possible."""
        raise InvalidInput("a rehearsal cannot be watched", subject=prefix)

    async def grant(self, ttl_s: int) -> int:
        """Not possible."""
        raise InvalidInput("a rehearsal has no leases")

    async def keepalive(self, lease: int) -> int:
        """Not possible."""
        raise InvalidInput("a rehearsal has no leases")

    async def revoke(self, lease: int) -> None:
        """There is nothing to revoke."""

    async def close(self) -> None:
        """The store stays open: it belongs to its owner."""


def _revision_of(kv: KeyValue | None) -> int:
    return kv.mod_revision if kv is not None else 0
