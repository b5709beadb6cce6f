"""An operator's word that a held store is right, written into that store.

It names the store (cluster id and clusterGUID) and counts for a view that was held before it was written: what a backup
brings back of an earlier acceptance lies before, and accepts nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from calico.datastore.api import Backend, Op
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY, ClusterFacts, cluster_facts, not_ready
from calico.errors import InvalidInput

__all__ = ["ACCEPT_PREFIX", "Acceptance", "accept_key", "accept_keys", "is_accepted", "write_acceptance"]

ACCEPT_PREFIX = "/calico/accept/v1/"
"""Outside everything that agents watch."""

_TTL_S = 24 * 3600


class Acceptance(msgspec.Struct, frozen=True, rename="camel"):
    """``cluster_id`` is etcd's, in hexadecimal (no 64-bit number survives every reader of JSON)."""

    cluster_id: str = ""
    cluster_guid: str = msgspec.field(default="", name="clusterGUID")
    by: str = ""
    time: str = ""


def accept_key(host: str) -> str:
    """Where the acceptance for one host stands, for all when ``host`` is empty."""
    return f"{ACCEPT_PREFIX}host/{host}" if host else f"{ACCEPT_PREFIX}all"


def accept_keys(host: str) -> tuple[str, str]:
    """Where a host looks."""
    return accept_key(""), accept_key(host)


async def is_accepted(
    backend: Backend, keys: Sequence[str], cluster_id: int, found: ClusterFacts, held_at: int
) -> bool:
    """Whether one of ``keys`` accepts this store, written after revision ``held_at``."""
    for key in keys:
        try:
            kv = await backend.get(key)
        except InvalidInput:  # our etcd user may not read it
            continue
        if kv is None or kv.mod_revision <= held_at:
            continue
        word = _read(kv.value)
        if word is not None and (word.cluster_id, word.cluster_guid) == (f"{cluster_id:x}", found.guid):
            return True
    return False


async def write_acceptance(backend: Backend, host: str, *, by: str, time: str) -> Acceptance:
    """Accept the store as it is now, for one host or (``host`` empty) for all; InvalidInput when nobody could follow
    it anyway. It vanishes after a day."""
    kv = await backend.get(CLUSTER_INFO_KEY)
    facts = cluster_facts(kv.value) if kv is not None else None
    reason = not_ready(facts)
    if reason or facts is None:
        raise InvalidInput(f"{reason}; first `calico datastore {'unlock' if kv is not None else 'init'}`")
    _, cluster_id = await backend.revision()
    word = Acceptance(f"{cluster_id:x}", facts.guid, by, time)
    lease = await backend.grant(_TTL_S)
    await backend.txn([Op(accept_key(host), msgspec.json.encode(word), lease=lease)])
    return word


def _read(value: bytes) -> Acceptance | None:
    try:
        return msgspec.json.decode(value, type=Acceptance)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
