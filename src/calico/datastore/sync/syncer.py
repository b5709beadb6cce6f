"""Follows prefixes of a datastore for ever: an exact view by minimal changes, across breaks, compaction and restores.

The algorithm and the measurements behind it are in the datastore's design note. In short: list at one revision, watch
from there; after a break prove by anchors that the store still is the one we knew and go on from the last event, or
list again and deliver only the difference. A view that would wrongly delete everything is held back (plausibility).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from calico.datastore.api import Backend, KeyValue, SyncerSink, SyncStatus, Update, WatchBatch
from calico.datastore.sync.brake import Brake
from calico.datastore.sync.known_view import FoundView, KnownView
from calico.datastore.sync.lineage import Lineage, judge
from calico.datastore.sync.plausibility import (
    CLUSTER_INFO_KEY,
    ClusterFacts,
    cluster_facts,
    doubt,
    is_mass_loss,
    not_ready,
)
from calico.datastore.sync.states import Happening, next_status
from calico.datastore.sync.streams import merged
from calico.errors import InvalidInput, ResyncRequired, Transient

__all__ = ["RELIST_AFTER_REVISIONS", "Syncer"]

log = structlog.get_logger(__name__)

RELIST_AFTER_REVISIONS = 20_000  # etcd replays about 5 000 revisions/s; a listing of 100 000 keys takes half a second
_CHUNK = 1_000
_RETRY_FIRST_S, _RETRY_MAX_S = 0.1, 5.0
_RECHECK_S = 5
_KEPT = (SyncStatus.LOCKED, SyncStatus.HELD)


class _Halted(Exception):
    """The store's present state must not be followed."""


class Syncer:
    """Keeps ``sink`` at the store's state. Always true: ``_view`` is what the sink was told.

    ``require_ready``: stay WAITING until ClusterInformation/default says ready, and be LOCKED when it stops to.
    ``accept_keys``: where an operator may say that a store held back is right (see ``acceptance``).
    ``revisions_of``: the only prefix whose changes tell the sink a revision, since streams overtake one another and a
    change of one says nothing about the others; empty: each tells its own.
    ``sleep`` and ``clock`` (monotonic seconds) can be replaced in tests.
    """

    def __init__(
        self,
        backend: Backend,
        prefixes: Sequence[str],
        sink: SyncerSink,
        *,
        require_ready: bool = False,
        accept_keys: Sequence[str] = (),
        revisions_of: str = "",
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        relist_after: int = RELIST_AFTER_REVISIONS,
    ) -> None:
        _check_prefixes(prefixes)
        self._backend, self._prefixes, self._sink = backend, tuple(prefixes), sink
        self._require_ready = require_ready
        self._revisions_of = revisions_of
        self._clock, self._sleep, self._relist_after = clock, sleep, relist_after
        self._facts_watched = any(CLUSTER_INFO_KEY.startswith(prefix) for prefix in prefixes)

        self._view = KnownView()
        self._lineage, self._lineage_reason = Lineage.SAME, ""
        self._relist = True

        self._status, self._reason = SyncStatus.WAITING, ""
        self._brake = Brake(backend, accept_keys)

        self._connected = False
        self._last_contact: float | None = None
        self._trouble = ""
        self._failures = 0

    # ---- what others may ask

    @property
    def status(self) -> SyncStatus:
        """How far the view is to be trusted."""
        return self._status

    @property
    def reason(self) -> str:
        """Why it waits or holds; empty when it does neither."""
        return self._reason

    @property
    def connected(self) -> bool:
        """Whether the store answered the last time (a silent member is noticed within ten seconds)."""
        return self._connected

    @property
    def last_contact(self) -> float | None:
        """Clock of the last answer, None before the first."""
        return self._last_contact

    @property
    def trouble(self) -> str:
        """Why there is no contact; empty while there is."""
        return self._trouble

    def contact_age_s(self) -> float | None:
        """0 while connected, else seconds since the last answer; None before the first."""
        if self._last_contact is None:
            return None
        return 0.0 if self._connected else self._clock() - self._last_contact

    def accept(self) -> bool:
        """Follow the store that is held back, deletions and all; False when nothing is held back for doubt.

        Binds to the cluster id and clusterGUID that were seen: should the store change once more, it is held again.
        """
        return self._brake.accept()

    # ---- the loop

    async def run(self) -> None:
        """Follow until cancelled; unreachable or implausible stores never end it."""
        self._sink.on_status(self._status)
        while True:
            try:
                await self._follow(await self._synchronise())
            except _Halted:
                self._failures = 0
                await self._pause()
            except ResyncRequired as err:
                log.info("datastore_resync_needed", reason=str(err))
                self._relist = True
                await self._back_off()
            except (Transient, InvalidInput) as err:
                self._lost(str(err))
                await self._back_off()

    async def _synchronise(self) -> Mapping[str, int]:
        """Bring the view to the store's state; from which revision to watch each prefix."""
        revision, cluster_id = await self._backend.revision()
        self._contact()
        await self._judge_lineage(revision, cluster_id)
        if self._may_resume(revision):
            return {prefix: at.anchors[0].revision + 1 for prefix, at in self._view.positions.items()}
        await self._brake.look_for_acceptance(revision, cluster_id)
        if await self._brake.is_doubted_still(revision, cluster_id):
            raise _Halted
        if self._require_ready:
            await self._check_ready()
        self._move(Happening.LISTING)
        view = await self._list()
        self._contact()
        self._check_view(view)
        await self._deliver(view)
        return dict.fromkeys(self._prefixes, view.revision + 1)

    def _may_resume(self, revision: int) -> bool:
        if self._relist or self._lineage is not Lineage.SAME or self._status is not SyncStatus.IN_SYNC:
            return False
        return self._view.is_provable() and revision - self._view.oldest_anchor() <= self._relist_after

    async def _judge_lineage(self, revision: int, cluster_id: int) -> None:
        """A break once seen stays until the proof is found again or the view is delivered."""
        lineage, reason = await judge(self._backend, self._view, revision, cluster_id)
        if not (lineage is Lineage.UNVERIFIABLE and self._lineage is Lineage.BROKEN):
            self._lineage, self._lineage_reason = lineage, reason

    async def _check_ready(self) -> None:
        """Look at readiness alone first: cheaper than a listing, and asked again and again."""
        kv = await self._backend.get(CLUSTER_INFO_KEY)
        if kv is not None or self._view.facts is None:
            self._halt_unless_ready(cluster_facts(kv.value) if kv is not None else None)

    def _halt_unless_ready(self, facts: ClusterFacts | None) -> None:
        reason = not_ready(facts) if self._require_ready else ""
        if reason:
            self._relist = True
            self._move(Happening.NOT_READY, reason)
            raise _Halted

    async def _list(self) -> FoundView:
        listings: dict[str, tuple[KeyValue, ...]] = {}
        revision = cluster_id = 0
        for prefix in self._prefixes:
            listing = await self._backend.list(prefix, revision=revision)
            revision, cluster_id = listing.revision, listing.cluster_id
            listings[prefix] = listing.items
        if self._facts_watched:
            found = [kv for items in listings.values() for kv in items if kv.key == CLUSTER_INFO_KEY]
        else:
            kv = await self._backend.get(CLUSTER_INFO_KEY, revision=revision)
            found = [kv] if kv is not None else []
        return FoundView(listings, revision, cluster_id, cluster_facts(found[0].value) if found else None)

    def _check_view(self, view: FoundView) -> None:
        """Hold a view back that must not replace ours."""
        if not self._brake.lets_through(view.cluster_id, view.facts):
            self._halt_if_doubted(view.facts, self._view.vanishing(view), (view.revision, view.cluster_id))
        self._halt_unless_ready(view.facts)

    def _halt_if_doubted(self, facts: ClusterFacts | None, vanishing: int, at: tuple[int, int]) -> None:
        reason = doubt(self._view.facts, facts, self._lineage, self._lineage_reason, len(self._view), vanishing)
        if reason:
            self._relist = True
            self._brake.hold(*at, facts)
            self._move(Happening.DOUBTED, reason)
            raise _Halted

    async def _deliver(self, view: FoundView) -> None:
        """Tell the sink the difference between what it knows and ``view``, in chunks."""
        changes = self._view.replace(view, trusted=self._lineage is Lineage.SAME)
        for start in range(0, max(len(changes), 1), _CHUNK):
            chunk = changes[start : start + _CHUNK]
            last = start + _CHUNK >= len(changes)
            self._sink.on_updates(chunk, view.revision if last else 0)
            await self._sleep(0)
        self._lineage, self._lineage_reason = Lineage.SAME, ""
        self._relist = False
        self._brake.release()
        self._move(Happening.DELIVERED)
        log.info("datastore_listed", rev=view.revision, keys=len(self._view), changes=len(changes))

    # ---- watching

    async def _follow(self, starts: Mapping[str, int]) -> None:
        """Watch every prefix from its revision; ends by raising the first reason of any stream."""
        streams = {prefix: self._backend.watch(prefix, revision) for prefix, revision in starts.items()}
        unproven = set(streams)
        async with contextlib.aclosing(merged(streams)) as batches:
            async for prefix, batch in batches:
                self._contact()
                if prefix in unproven:
                    await self._prove()
                    unproven.remove(prefix)
                if batch.updates:
                    self._failures = 0
                    self._on_batch(prefix, batch)

    async def _prove(self) -> None:
        """A stream stands: only now does a proof of descent hold for it, too (the store may be replaced any time)."""
        await self._judge_lineage(*await self._backend.revision())
        if self._lineage is Lineage.BROKEN or (self._lineage is Lineage.UNVERIFIABLE and len(self._view)):
            raise ResyncRequired(self._lineage_reason or "what was known of the history is no longer kept")

    def _on_batch(self, prefix: str, batch: WatchBatch) -> None:
        changes = self._view.changes_of(prefix, batch)
        vanishing = sum(change.value is None for change in changes)
        told = [update for update in batch.updates if update.key == CLUSTER_INFO_KEY]
        if told:
            facts = self._check_facts(told[-1], vanishing, batch.revision)
        elif is_mass_loss(len(self._view), vanishing):
            # An emptied store may show first on a prefix without ClusterInformation: look at all of it.
            raise ResyncRequired(f"revision {batch.revision} deletes many keys at once")
        else:
            facts = self._view.facts
        self._view.remember(prefix, batch)
        self._view.facts = facts
        if batch.updates:  # a rewrite of the same bytes changes nothing but how far the sink's view reaches
            tells = self._revisions_of in ("", prefix)
            self._sink.on_updates(changes, batch.revision if tells else 0)

    def _check_facts(self, update: Update, vanishing: int, revision: int) -> ClusterFacts | None:
        """Hold the whole batch back when it takes ClusterInformation away, exchanges it or locks the store."""
        facts = cluster_facts(update.value) if update.value is not None else None
        self._halt_if_doubted(facts, vanishing, (revision, self._view.cluster_id))
        self._halt_unless_ready(facts)
        return facts

    # ---- status and pace

    def _move(self, happening: Happening, reason: str = "") -> None:
        """Change the status by the table and tell the sink what is new in it."""
        status = next_status(self._status, happening)
        if status in _KEPT and not reason:
            reason = self._reason  # unreachable or listing again meanwhile: the reason for keeping our view stands
        if status in (SyncStatus.RESYNCING, SyncStatus.IN_SYNC):
            reason = ""
        if (status, reason) != (self._status, self._reason):
            level = log.warning if status in _KEPT else log.info
            level("datastore_status_changed", status=status.value, previous=self._status.value, reason=reason)
            self._status, self._reason = status, reason
            self._sink.on_status(status, reason)

    def _contact(self) -> None:
        self._connected, self._trouble = True, ""
        self._last_contact = self._clock()

    def _lost(self, reason: str) -> None:
        if self._connected or self._last_contact is None:
            log.warning("datastore_connection_lost", reason=reason)
        self._connected, self._trouble = False, reason
        self._move(Happening.UNREACHABLE, "" if self._status in _KEPT else reason)

    async def _back_off(self) -> None:
        delay = min(_RETRY_FIRST_S * 2**self._failures, _RETRY_MAX_S)
        self._failures = min(self._failures + 1, 10)
        await self._sleep(delay)

    async def _pause(self) -> None:
        """Wait before looking at a store again that was not to be followed; ``accept`` cuts it short.

        Who has nothing yet looks every second: the store may be initialised this moment, and the look costs two reads.
        """
        before = self._brake.accepted
        for _ in range(1 if self._status is SyncStatus.WAITING else _RECHECK_S):
            if self._brake.accepted and not before:
                return
            await self._sleep(1.0)


def _check_prefixes(prefixes: Sequence[str]) -> None:
    if not prefixes or "" in prefixes:
        raise InvalidInput("a syncer needs prefixes that are not empty")
    for one in prefixes:
        for other in prefixes:
            if one is not other and one.startswith(other):
                raise InvalidInput(f"the prefix {one} lies within {other}")
