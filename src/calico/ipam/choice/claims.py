"""Claiming a block for an owner and giving it up (spec §9.2): what to write, given what is stored. Pure.

Calico's own client takes three writes for each; here each is one transaction over block and affinity, so that a crash
leaves nothing half done. What a client of Calico left half done is finished or undone on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from calico.datastore.api import KeyValue, Op
from calico.errors import InvalidInput
from calico.ipam.stored.affinity import CONFIRMED, decode_affinity, encode_affinity
from calico.ipam.stored.block import Block, collect, is_empty, new_block, written
from calico.ipam.stored.block_codec import decode_block, encode_block
from calico.ipam.stored.keys import affinity_key, block_key

__all__ = ["Claim", "Release", "is_reclaimable", "plan_claim", "plan_reclaim", "plan_release", "writes"]

_YOUNG = timedelta(minutes=1)


class Claim(msgspec.Struct, frozen=True):
    """``ops`` to write (none: it holds already), after which ``block`` is the owner's. ``taken``: it cannot be had.

    A claim that cannot be had may still have something to tidy up.
    """

    ops: tuple[Op, ...]
    block: Block | None = None
    taken: str = ""


class Release(msgspec.Struct, frozen=True):
    """``ops`` to write, none when there is nothing to do; ``kept`` says why the block stays with its owner."""

    ops: tuple[Op, ...]
    kept: str = ""


def plan_claim(
    owner: str, cidr: str, affinity: KeyValue | None, block: KeyValue | None, now: datetime, sequence: int
) -> Claim:
    """Make ``cidr`` the owner's, when it is nobody's or theirs already. ``sequence``: the clock in nanoseconds."""
    ours, at = affinity_key(owner, cidr), block_key(cidr)
    if block is None:
        made = new_block(cidr, owner, now, sequence)
        return Claim((_confirm(ours, affinity), Op(at, encode_block(made), expect=0)), made)
    found = decode_block(at, block.value)
    if found.affinity == owner:
        if affinity is not None and _holds(ours, affinity):
            return Claim((), found)
        found = written(found)  # who else is about to finish or undo this claim must look again
        return Claim((_confirm(ours, affinity), Op(at, encode_block(found), expect=block.mod_revision)), found)
    taken = f"{cidr} belongs to {found.affinity or 'nobody, but has addresses in use'}"
    if affinity is None:
        return Claim((), taken=taken)
    same_block = Op(at, expect=block.mod_revision, check_only=True)
    return Claim((Op(ours, expect=affinity.mod_revision), same_block), taken=taken)


def plan_reclaim(
    owner: str,
    block: KeyValue,
    theirs: KeyValue | None,
    ours: KeyValue | None,
    now: datetime,
    sequence: int,
    cooldown_s: int = 0,
) -> Claim:
    """Take over an empty block of another owner; ``theirs`` is that owner's affinity. Not when it is a minute young."""
    found = collect(decode_block(block.key, block.value), now, cooldown_s)
    cidr = found.cidr
    if not is_reclaimable(found, owner, now) or found.affinity is None:
        return Claim((), taken=f"{cidr} is in use by {found.affinity or 'nobody'}")
    made = new_block(cidr, owner, now, max(sequence, found.sequence + 1))
    their_key = affinity_key(found.affinity, cidr)
    gone = Op(their_key, expect=theirs.mod_revision if theirs is not None else 0, check_only=theirs is None)
    put = Op(block.key, encode_block(made), expect=block.mod_revision)
    return Claim((gone, put, _confirm(affinity_key(owner, cidr), ours)), made)


def is_reclaimable(block: Block, owner: str, now: datetime) -> bool:
    """Whether a block is another owner's, empty, and not just claimed."""
    if block.affinity in (None, owner) or not is_empty(block):
        return False
    return not block.claim_time or now - _moment(block.claim_time, now) >= _YOUNG


def plan_release(
    owner: str,
    cidr: str,
    affinity: KeyValue | None,
    block: KeyValue | None,
    now: datetime,
    cooldown_s: int = 0,
    *,
    only_empty: bool = False,
) -> Release:
    """Undo a claim: the block goes when it is empty; else it stays, belonging to nobody, until it is.

    An affinity to a block that is not there, or is another's, goes alone.
    """
    ours, at = affinity_key(owner, cidr), block_key(cidr)
    goes = (Op(ours, expect=affinity.mod_revision),) if affinity is not None else ()
    if block is None:
        return Release((*goes, Op(at, expect=0, check_only=True)) if goes else ())
    found = collect(decode_block(at, block.value), now, cooldown_s)
    if found.affinity != owner:
        return Release((*goes, Op(at, expect=block.mod_revision, check_only=True)) if goes else ())
    goes = goes or (Op(ours, expect=0, check_only=True),)
    if is_empty(found):
        return Release((*goes, Op(at, expect=block.mod_revision)))
    if only_empty:
        return Release((), kept=f"{cidr} has {sum(1 for _ in found.held())} addresses in use")
    orphan = written(replace(found, affinity=None, claim_time=None))
    return Release((*goes, Op(at, encode_block(orphan), expect=block.mod_revision)))


def _confirm(key: str, stored: KeyValue | None) -> Op:
    return Op(key, encode_affinity(CONFIRMED), expect=stored.mod_revision if stored is not None else 0)


def _holds(key: str, stored: KeyValue) -> bool:
    try:
        return decode_affinity(key, stored.value).holds
    except InvalidInput:
        return False


def _moment(text: str, now: datetime) -> datetime:
    """A claim time that cannot be read is long ago."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return now - _YOUNG
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=now.tzinfo)


def writes(ops: Sequence[Op]) -> bool:
    """Whether a plan changes anything."""
    return any(not op.check_only for op in ops)
