"""A datastore in memory with etcd's semantics: revisions, history, compaction, leases, watches, and its accidents.

Time stands still unless ``advance`` is called. One contract test-suite runs against this and against real etcd.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import AsyncGenerator, Sequence

import msgspec

from calico.datastore.api import Compacted, FutureRevision, KeyValue, Listing, Op, Query, Update, WatchBatch
from calico.datastore.ops import check_ops, compare_failed
from calico.errors import NotFound, Transient

__all__ = ["MemoryBackend", "Snapshot"]

_BATCH_REVISIONS = 1000


_Versions = dict[str, list[tuple[int, KeyValue | None]]]
_Log = list[tuple[int, tuple[Update, ...]]]


class Snapshot(msgspec.Struct, frozen=True):
    """A store's keys at one moment, and which cluster it was; leases are not part of it.

    ``versions``, ``log`` and ``compacted``: its history, as far as it was kept, which a backup of etcd holds as well.
    """

    items: tuple[KeyValue, ...]
    revision: int
    cluster_id: int
    versions: _Versions = {}
    log: _Log = []
    compacted: int = 0


class _Lease:
    """Expires at ``deadline`` (seconds of the store's own clock) and takes its keys along."""

    def __init__(self, ttl_s: int, now: float) -> None:
        self.ttl_s = ttl_s
        self.deadline = now + ttl_s


class MemoryBackend:
    """A ``Backend`` without a server. Every successful write that changes something is one new revision."""

    def __init__(self, *, cluster_id: int = 1) -> None:
        self._cluster_id = cluster_id
        self._now = 0.0
        self._revision = 1
        self._compacted = 0
        self._versions: _Versions = {}
        self._log: _Log = []
        self._leases: dict[int, _Lease] = {}
        self._next_lease = 1
        self._changed = asyncio.Event()
        self._breaks = 0
        self._down = ""

    # ---- reading

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        """The key as of ``revision`` (0: now)."""
        await self._contact()
        return self._at(key, self._readable(revision))

    async def list(self, prefix: str, *, revision: int = 0, created_after: int = 0) -> Listing:
        """All keys under ``prefix`` as of one revision."""
        await self._contact()
        at = self._readable(revision)
        found = (self._at(key, at) for key in sorted(self._versions) if key.startswith(prefix))
        items = tuple(kv for kv in found if kv is not None and kv.create_revision > created_after)
        return Listing(items, at, self._cluster_id)

    async def read(self, queries: Sequence[Query]) -> tuple[tuple[KeyValue, ...], ...]:
        """The answers to all, as of one revision."""
        await self._contact()
        return tuple(self._answer(query) for query in queries)

    def _answer(self, query: Query) -> tuple[KeyValue, ...]:
        keys = sorted(self._versions) if query.prefix else [query.key]
        found = (self._at(key, self._revision) for key in keys if key.startswith(query.key))
        return tuple(kv for kv in found if kv is not None)

    async def revision(self) -> tuple[int, int]:
        """(current revision, cluster id)."""
        await self._contact()
        return self._revision, self._cluster_id

    # ---- writing

    async def txn(self, ops: Sequence[Op]) -> int:
        """All or nothing; the store's revision after it."""
        check_ops(ops)
        await self._contact()
        return self.apply(ops)

    def apply(self, ops: Sequence[Op]) -> int:
        """``txn`` at once, and also while the store is out of our reach: what another client does."""
        expecting = {op.key: self._at(op.key, self._revision) for op in ops if op.expect is not None}
        if any(op.expect is not None and op.expect != _mod_revision(expecting[op.key]) for op in ops):
            raise compare_failed(ops, expecting)
        writes = [op for op in ops if not op.check_only]
        if any(op.value is not None and op.lease and op.lease not in self._leases for op in writes):
            raise NotFound(f"writing {ops[0].key}: requested lease not found")
        self._write([(op.key, op.value, op.lease) for op in writes])
        return self._revision

    async def delete_prefix(self, prefix: str) -> int:
        """Delete everything under ``prefix`` in one revision; how many keys there were."""
        keys = [kv.key for kv in (await self.list(prefix)).items]
        self._write([(key, None, 0) for key in keys])
        return len(keys)

    async def compact(self, revision: int) -> None:
        """Forget history before ``revision``; Compacted when that has happened already."""
        await self._contact()
        self.forget_before(revision)

    def forget_before(self, revision: int) -> None:
        """``compact`` at once, and also while the store is out of our reach."""
        if revision <= self._compacted:
            raise Compacted(f"compacting to {revision}: revision has been compacted", self._compacted)
        if revision > self._revision:
            raise FutureRevision(f"compacting to {revision}: required revision is a future revision")
        self._compacted = revision

    # ---- watching

    async def watch(self, prefix: str, from_revision: int) -> AsyncGenerator[WatchBatch, None]:
        """Changes at or after ``from_revision``; see the contract in ``api``."""
        await self._contact()
        breaks, position = self._breaks, from_revision or self._revision + 1
        yield WatchBatch((), 0)
        while True:
            self._check_stream(breaks)
            if position <= self._compacted:
                raise Compacted(f"watching {prefix}: revision {position} has been compacted", self._compacted)
            changed = self._changed
            batch, position = self._since(prefix, position)
            if batch:
                yield WatchBatch(tuple(batch), batch[-1].mod_revision)
            elif position > self._revision:
                await changed.wait()

    def _since(self, prefix: str, position: int) -> tuple[Sequence[Update], int]:
        """Up to a thousand revisions of changes from ``position`` on, and the position after them."""
        start = bisect_left(self._log, position, key=lambda entry: entry[0])
        entries = self._log[start : start + _BATCH_REVISIONS]
        updates = [update for _, changes in entries for update in changes if update.key.startswith(prefix)]
        return updates, max(position, entries[-1][0] + 1 if entries else self._revision + 1)

    # ---- leases

    async def grant(self, ttl_s: int) -> int:
        """A new lease id."""
        await self._contact()
        lease, self._next_lease = self._next_lease, self._next_lease + 1
        self._leases[lease] = _Lease(ttl_s, self._now)
        return lease

    async def keepalive(self, lease: int) -> int:
        """Renew; remaining TTL in seconds. NotFound when it has expired."""
        await self._contact()
        held = self._leases.get(lease)
        if held is None:
            raise NotFound(f"lease {lease:x} has expired")
        held.deadline = self._now + held.ttl_s
        return held.ttl_s

    async def revoke(self, lease: int) -> None:
        """End a lease and delete its keys; a lease that is gone is fine."""
        await self._contact()
        self._end_lease(lease)

    def advance(self, seconds: float) -> None:
        """Let time pass; leases that end are revoked in the order of their deadlines."""
        self._now += seconds
        ended = sorted((held.deadline, lease) for lease, held in self._leases.items() if held.deadline <= self._now)
        for _, lease in ended:
            self._end_lease(lease)

    # ---- accidents

    def break_streams(self) -> None:
        """Every open watch ends with Transient."""
        self._breaks += 1
        self._wake()

    def go_down(self, reason: str = "connection refused") -> None:
        """Every call fails with Transient, and every watch ends, until ``come_up``."""
        self._down = reason
        self.break_streams()

    def come_up(self) -> None:
        """Answer again."""
        self._down = ""

    def snapshot(self) -> Snapshot:
        """What a backup taken now would hold."""
        items = (self._at(key, self._revision) for key in sorted(self._versions))
        return Snapshot(
            tuple(kv for kv in items if kv is not None),
            self._revision,
            self._cluster_id,
            _copy(self._versions),
            list(self._log),
            self._compacted,
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Become the store of an older backup, with the backup's ids, as etcd does with an unchanged token."""
        self._cluster_id, self._revision = snapshot.cluster_id, snapshot.revision
        self._versions, self._log = _copy(snapshot.versions), list(snapshot.log)
        self._compacted = snapshot.compacted
        self._leases = {}
        self.break_streams()

    def become_other(self, cluster_id: int) -> None:
        """Become a fresh empty store of another cluster."""
        self.restore(Snapshot((), 1, cluster_id))

    async def close(self) -> None:
        """Nothing is held."""

    # ---- the machinery

    async def _contact(self) -> None:
        """Where a real store would be asked over the network: other tasks run, and it may be down."""
        await asyncio.sleep(0)
        if self._down:
            raise Transient(f"the datastore is unavailable: {self._down}")

    def _check_stream(self, breaks: int) -> None:
        if self._breaks != breaks or self._down:
            raise Transient(f"the watch ended: {self._down or 'stream broken'}")

    def _readable(self, revision: int) -> int:
        if revision > self._revision:
            raise FutureRevision(f"required revision {revision} is a future revision")
        if 0 < revision < self._compacted:
            raise Compacted(f"required revision {revision} has been compacted", self._compacted)
        return revision or self._revision

    def _at(self, key: str, revision: int) -> KeyValue | None:
        versions = self._versions.get(key, [])
        index = bisect_right(versions, revision, key=lambda version: version[0])
        return versions[index - 1][1] if index else None

    def _write(self, changes: Sequence[tuple[str, bytes | None, int]]) -> None:
        """Apply (key, value or None, lease) as one revision; deleting what is absent changes nothing."""
        revision = self._revision + 1
        updates = []
        for key, value, lease in changes:
            old = self._at(key, self._revision)
            if value is None and old is None:
                continue
            new = None if value is None else _next_version(old, key, value, revision, lease)
            self._versions.setdefault(key, []).append((revision, new))
            updates.append(Update(key, value, revision))
        if updates:
            self._revision = revision
            self._log.append((revision, tuple(updates)))
            self._wake()

    def _end_lease(self, lease: int) -> None:
        if self._leases.pop(lease, None) is not None:
            current = (self._at(key, self._revision) for key in sorted(self._versions))
            self._write([(kv.key, None, 0) for kv in current if kv is not None and kv.lease == lease])

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _copy(versions: _Versions) -> _Versions:
    return {key: list(found) for key, found in versions.items()}


def _mod_revision(kv: KeyValue | None) -> int:
    return kv.mod_revision if kv is not None else 0


def _next_version(old: KeyValue | None, key: str, value: bytes, revision: int, lease: int) -> KeyValue:
    if old is None:
        return KeyValue(key, value, revision, revision, 1, lease)
    return KeyValue(key, value, revision, old.create_revision, old.version + 1, lease)
