"""What the syncer's consumer was told: digests of values, how far each prefix is known, and what would prove it.

No I/O: listings and batches in, differences out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b

import msgspec

from calico.datastore.api import KeyValue, Update, WatchBatch
from calico.datastore.sync.lineage import Anchor, anchor_of
from calico.datastore.sync.plausibility import ClusterFacts
from calico.errors import ResyncRequired

__all__ = ["FoundView", "KnownView", "Position"]


class FoundView(msgspec.Struct, frozen=True):
    """A listing of all prefixes at one revision, and what ClusterInformation/default said then."""

    listings: Mapping[str, tuple[KeyValue, ...]]
    revision: int
    cluster_id: int
    facts: ClusterFacts | None

    def items(self) -> Iterable[KeyValue]:
        """The keys of all prefixes."""
        return (kv for items in self.listings.values() for kv in items)


class Position(msgspec.Struct, frozen=True):
    """How far a prefix is known: our view is that of ``revision``; ``anchors`` prove it (none: no proof is possible).

    The first anchor is the last change at or before ``revision``; when it was a deletion, which proves little, the
    last put follows. The first may be older than ``revision``: nothing of the prefix changed in between, unless the
    store was restored to a point in between, so a watch is resumed after the anchor.
    """

    revision: int
    anchors: tuple[Anchor, ...]

    def after(self, batch: WatchBatch) -> Position:
        """The position after a batch with updates; one that lies before it (seen again on resuming) changes nothing."""
        if batch.revision <= self.revision:
            return self
        puts = [anchor_of(update) for update in batch.updates if update.value is not None]
        earlier = [anchor for anchor in self.anchors if anchor.value is not None]
        last = anchor_of(batch.updates[-1])
        proof = (last,) if last.value is not None else (last, *[*earlier, *puts][-1:])
        return Position(batch.revision, proof)


class KnownView:
    """The consumer's view. Always true between calls: it holds exactly what was told, or is being told, to it."""

    def __init__(self) -> None:
        self._keys: dict[str, tuple[int, bytes]] = {}  # key -> (mod revision, digest of the value)
        self.facts: ClusterFacts | None = None
        self.cluster_id = 0
        self.positions: dict[str, Position] = {}

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def revision(self) -> int:
        """The newest revision known of; 0 before the first listing."""
        return max((position.revision for position in self.positions.values()), default=0)

    def anchors(self) -> set[Anchor]:
        """Everything that can prove descent."""
        return {anchor for position in self.positions.values() for anchor in position.anchors}

    def is_provable(self) -> bool:
        """Whether every prefix has an anchor."""
        return all(position.anchors for position in self.positions.values())

    def oldest_anchor(self) -> int:
        """The revision of the oldest anchor to resume from; 0 without one."""
        return min((at.anchors[0].revision if at.anchors else 0 for at in self.positions.values()), default=0)

    def vanishing(self, view: FoundView) -> int:
        """How many known keys ``view`` lacks."""
        found = {kv.key for kv in view.items()}
        return sum(key not in found for key in self._keys)

    def replace(self, view: FoundView, *, trusted: bool) -> list[Update]:
        """Become ``view``; the changes of content, deletions last.

        ``trusted``: the store provably descends from what was known, so an equal revision means an equal value.
        """
        changes = []
        found = set()
        for kv in view.items():
            found.add(kv.key)
            known = self._keys.get(kv.key)
            if known is not None and trusted and known[0] == kv.mod_revision:
                continue
            digest = _digest(kv.value)
            if known is None or known[1] != digest:
                changes.append(Update(kv.key, kv.value, kv.mod_revision))
            self._keys[kv.key] = (kv.mod_revision, digest)
        for key in [key for key in self._keys if key not in found]:
            del self._keys[key]
            changes.append(Update(key, None, view.revision))
        self.facts, self.cluster_id = view.facts, view.cluster_id
        self._stand_at(view)
        return changes

    def _stand_at(self, view: FoundView) -> None:
        newest = {prefix: max(items, key=_by_revision) for prefix, items in view.listings.items() if items}
        fallback = max(newest.values(), key=_by_revision, default=None)
        for prefix in view.listings:
            kv = newest.get(prefix, fallback)
            self.positions[prefix] = Position(view.revision, (anchor_of(kv),) if kv is not None else ())

    def changes_of(self, prefix: str, batch: WatchBatch) -> list[Update]:
        """What a batch would change, the last state of each key only; nothing is remembered yet.

        ResyncRequired when it contradicts what is known: news of a time that we had seen.
        """
        latest: dict[str, Update] = {}
        for update in batch.updates:
            latest.pop(update.key, None)
            latest[update.key] = update
        changes = [update for update in latest.values() if self._is_news(update)]
        for update in changes:
            if update.mod_revision <= self.positions[prefix].revision:
                raise ResyncRequired(f"{update.key} changed at revision {update.mod_revision}, which had been seen")
        return changes

    def remember(self, prefix: str, batch: WatchBatch) -> None:
        """The consumer is being told of a batch."""
        for update in batch.updates:
            if update.value is None:
                self._keys.pop(update.key, None)
            else:
                self._keys[update.key] = (update.mod_revision, _digest(update.value))
        self.positions[prefix] = self.positions[prefix].after(batch)

    def _is_news(self, update: Update) -> bool:
        known = self._keys.get(update.key)
        if update.value is None:
            return known is not None
        return known is None or known[1] != _digest(update.value)


def _digest(value: bytes) -> bytes:
    """16 bytes stand for a value: the memory of 100 000 values of 1 KB stays small."""
    return blake2b(value, digest_size=16).digest()


def _by_revision(kv: KeyValue) -> int:
    return kv.mod_revision
