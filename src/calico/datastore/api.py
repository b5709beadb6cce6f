"""What a datastore is to the rest of the system: raw keys and values with etcd's semantics.

Implemented by the etcd client and by the in-memory store; one contract test-suite holds both.
Errors are the classes of ``calico.errors``: Conflict, NotFound, Transient, Uncertain (a write whose answer was lost),
ResyncRequired (compacted), InvalidInput (too large, malformed), Fatal (never).
"""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol

import msgspec

from calico.errors import Conflict, ResyncRequired

__all__ = [
    "Backend",
    "Compacted",
    "CompareFailed",
    "FutureRevision",
    "KeyValue",
    "Listing",
    "Op",
    "Query",
    "SyncStatus",
    "SyncerSink",
    "Update",
    "WatchBatch",
]


class KeyValue(msgspec.Struct, frozen=True, gc=False):
    """A key as stored, with the revisions etcd keeps about it."""

    key: str
    value: bytes
    mod_revision: int
    create_revision: int
    version: int
    lease: int = 0


class Listing(msgspec.Struct, frozen=True):
    """All keys of a prefix as of one revision, sorted by key. ``cluster_id`` is 0 where unknown."""

    items: tuple[KeyValue, ...]
    revision: int
    cluster_id: int = 0


class CompareFailed(Conflict):
    """A transaction's expectations did not hold; ``current`` has the present state of each key that had one."""

    def __init__(self, message: str, current: Mapping[str, KeyValue | None]) -> None:
        super().__init__(message)
        self.current = current


class Compacted(ResyncRequired):
    """The revision asked for is no longer kept; ``compact_revision`` is the oldest kept one, 0 when not told."""

    def __init__(self, message: str, compact_revision: int = 0) -> None:
        super().__init__(message)
        self.compact_revision = compact_revision


class FutureRevision(ResyncRequired):
    """The revision asked for has not happened: the store is not the one, or not at the point, we thought."""


class Update(msgspec.Struct, frozen=True, gc=False):
    """A change of one key: ``value`` None means deleted; ``mod_revision`` is when it happened."""

    key: str
    value: bytes | None
    mod_revision: int


class WatchBatch(msgspec.Struct, frozen=True, gc=False):
    """Complete changes up to and including ``revision``.

    A batch without updates is a sign of life; its ``revision`` is 0 where the store's answer may have overtaken events.
    """

    updates: tuple[Update, ...]
    revision: int


class Op(msgspec.Struct, frozen=True, gc=False):
    """One key of a compare-and-swap transaction.

    ``expect``: None no condition, 0 must not exist, n the key's mod revision must be n.
    ``value``: None deletes (unless ``check_only``), else puts, attached to ``lease`` when not 0.
    """

    key: str
    value: bytes | None = None
    expect: int | None = None
    lease: int = 0
    check_only: bool = False


class Query(msgspec.Struct, frozen=True, gc=False):
    """A key, or (``prefix``) all keys that begin so."""

    key: str
    prefix: bool = False


class Backend(Protocol):
    """A consistent key-value store with revisions, compare-and-swap, watches and leases."""

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None: ...

    async def list(self, prefix: str, *, revision: int = 0, created_after: int = 0) -> Listing:
        """The keys under ``prefix``; of those that were created after a revision only, when given."""
        ...

    async def read(self, queries: Sequence[Query]) -> tuple[tuple[KeyValue, ...], ...]:
        """The answers to all, as of one revision and in one round trip: for what is known to be little."""
        ...

    async def revision(self) -> tuple[int, int]:
        """(current revision, cluster id) by a linearizable read."""
        ...

    async def txn(self, ops: Sequence[Op]) -> int:
        """All or nothing; the store's revision after it. CompareFailed (a Conflict) when an expectation fails."""
        ...

    def watch(self, prefix: str, from_revision: int) -> AsyncGenerator[WatchBatch, None]:
        """Changes at or after ``from_revision``; ends by raising Transient or ResyncRequired (Compacted).

        The first batch is empty and says that the watch stands, so that what is checked after it also holds for it.
        Events of one revision are never split over batches. A revision that lies in the future is accepted in silence,
        as by etcd: what happens below it is not seen.
        """
        ...

    async def grant(self, ttl_s: int) -> int:
        """A new lease id."""
        ...

    async def keepalive(self, lease: int) -> int:
        """Renew; remaining TTL in seconds. NotFound when it has expired."""
        ...

    async def revoke(self, lease: int) -> None: ...

    async def close(self) -> None: ...


class SyncStatus(enum.Enum):
    """How far the syncer's view is to be trusted."""

    WAITING = "wait-for-datastore"
    RESYNCING = "resync-in-progress"
    IN_SYNC = "in-sync"
    LOCKED = "locked"  # datastoreReady is false; our last view is kept
    HELD = "held"  # the store looks emptied, restored or different; our last good view is kept


class SyncerSink(Protocol):
    """Receives what the syncer learns; calls come from one task, in order, and must not block."""

    def on_status(self, status: SyncStatus, reason: str = "") -> None: ...

    def on_updates(self, updates: Sequence[Update], revision: int) -> None:
        """Real changes only (none when keys were rewritten as they were); after this call the sink's view is that of
        ``revision`` (0 during a snapshot, and for prefixes that tell none)."""
        ...
