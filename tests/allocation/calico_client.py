"""The claim and release of Calico's own client, write by write as the data model tells them (spec §9.2)."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from calico.datastore.api import CompareFailed, KeyValue, Op
from calico.ipam.stored.affinity import Affinity, encode_affinity
from calico.ipam.stored.block import is_empty, new_block, written
from calico.ipam.stored.block_codec import decode_block, encode_block
from calico.ipam.stored.keys import affinity_key, block_key

PENDING, CONFIRMED, LEAVING = (encode_affinity(Affinity(s)) for s in ("pending", "confirmed", "pendingDeletion"))


async def claim(store, owner: str, cidr: str, now: datetime, sequence: int) -> bool:
    """Three writes. Gives up where the real client would begin again."""
    ours, at = affinity_key(owner, cidr), block_key(cidr)
    try:
        found: KeyValue | None = await store.get(ours)
        revision = await store.txn([Op(ours, PENDING, expect=found.mod_revision if found else 0)])
        try:
            await store.txn([Op(at, encode_block(new_block(cidr, owner, now, sequence)), expect=0)])
        except CompareFailed as failed:
            there = failed.current[at]
            block = decode_block(at, there.value)
            if block.affinity != owner:
                await store.txn([Op(ours, expect=revision)])
                return False
            await store.txn([Op(at, encode_block(written(block)), expect=there.mod_revision)])
        await store.txn([Op(ours, CONFIRMED, expect=revision)])
    except CompareFailed:
        return False
    return True


async def release(store, owner: str, cidr: str) -> bool:
    """Three writes as well."""
    ours, at = affinity_key(owner, cidr), block_key(cidr)
    try:
        there, found = await store.get(at), await store.get(ours)
        if there is None or found is None or decode_block(at, there.value).affinity != owner:
            return False
        revision = await store.txn([Op(ours, LEAVING, expect=found.mod_revision)])
        block = decode_block(at, there.value)
        if is_empty(block):
            await store.txn([Op(at, expect=there.mod_revision)])
        else:
            orphan = written(replace(block, affinity=None, claim_time=None))
            await store.txn([Op(at, encode_block(orphan), expect=there.mod_revision)])
        await store.txn([Op(ours, expect=revision)])
    except CompareFailed:
        return False
    return True
