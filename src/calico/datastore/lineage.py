"""Is the store still the one we knew? Told from cluster id, revision and one remembered change per prefix (anchor).

A store restored from a backup keeps its ids, and a watch from a future revision is silently accepted, so only content
proves descent: the change we saw last must still be part of the store's history.
"""

from __future__ import annotations

import enum

import msgspec

from calico.datastore.api import Backend, Compacted, FutureRevision, KeyValue, Update

__all__ = ["Anchor", "Lineage", "anchor_of", "check_anchor"]


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
