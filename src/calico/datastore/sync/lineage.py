"""Is the store still the one we knew? Told from cluster id, revision and one remembered change per prefix (anchor).

A store restored from a backup keeps its ids, and a watch from a future revision is silently accepted, so only content
proves descent: the change we saw last must still be part of the store's history.
"""

from __future__ import annotations

import enum
from typing import Protocol

import msgspec

from calico.datastore.api import Backend, Compacted, FutureRevision, KeyValue, Update

__all__ = ["Anchor", "Known", "Lineage", "anchor_of", "check_anchor", "judge"]


class Lineage(enum.Enum):
    """How the store relates to what we know."""

    SAME = "same"  # our last change is part of its history
    UNVERIFIABLE = "unverifiable"  # the proof was compacted away
    BROKEN = "broken"  # it is another store, or the same at an older point


class Anchor(msgspec.Struct, frozen=True):
    """The last change seen under a prefix: ``key`` had ``value`` (None: was deleted) as of ``revision``."""

    key: str
    value: bytes | None
    revision: int


def anchor_of(change: Update | KeyValue) -> Anchor:
    """The anchor that a change makes."""
    return Anchor(change.key, change.value, change.mod_revision)


class Known(Protocol):
    """What is remembered of a store; nothing yet while ``revision`` is 0."""

    cluster_id: int

    @property
    def revision(self) -> int: ...

    def anchors(self) -> set[Anchor]: ...

    def is_provable(self) -> bool: ...


async def judge(backend: Backend, known: Known, revision: int, cluster_id: int) -> tuple[Lineage, str]:
    """How the store, now at ``revision``, relates to what is known; says what differs when BROKEN."""
    if not known.revision:
        return Lineage.SAME, ""
    if cluster_id and known.cluster_id and cluster_id != known.cluster_id:
        return Lineage.BROKEN, f"its cluster id changed from {known.cluster_id:x} to {cluster_id:x}"
    if revision < known.revision:
        return Lineage.BROKEN, f"its revision went back from {known.revision} to {revision}"
    verdict = Lineage.SAME if known.is_provable() else Lineage.UNVERIFIABLE
    for anchor in known.anchors():
        found, reason = await check_anchor(backend, anchor)
        if found is Lineage.BROKEN:
            return found, reason
        verdict = found if verdict is Lineage.SAME else verdict
    return verdict, ""


async def check_anchor(backend: Backend, anchor: Anchor) -> tuple[Lineage, str]:
    """Compare the anchor with the store by linearizable reads (one or two); says what differs when BROKEN."""
    now = await backend.get(anchor.key)
    if now is not None and now.mod_revision <= anchor.revision:
        same = now.mod_revision == anchor.revision and now.value == anchor.value
        return (Lineage.SAME, "") if same else (Lineage.BROKEN, _differs(anchor))
    try:
        then = await backend.get(anchor.key, revision=anchor.revision)
        if anchor.value is None:
            before = await backend.get(anchor.key, revision=anchor.revision - 1)
            same = then is None and before is not None
        else:
            same = then is not None and then.mod_revision == anchor.revision and then.value == anchor.value
    except Compacted:
        return Lineage.UNVERIFIABLE, ""
    except FutureRevision:
        return Lineage.BROKEN, f"its revision went back below {anchor.revision}"
    return (Lineage.SAME, "") if same else (Lineage.BROKEN, _differs(anchor))


def _differs(anchor: Anchor) -> str:
    return f"its history does not hold our last change ({anchor.key} at revision {anchor.revision})"
