"""Writes allocations into one block together with their handle: both or neither, in one transaction.

When the answer to a write is lost, the block is read again: either the addresses stand there under our handle and
number, or the write can no longer happen, because the next one is made on the same revision of the block.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from calico.datastore.api import CompareFailed, KeyValue, Op
from calico.errors import Conflict, Uncertain
from calico.ipam.block import Attribute, Block, collect, same_handle, written
from calico.ipam.block_codec import decode_block, encode_block
from calico.ipam.handle import Handle, counted, decode_handle, encode_handle
from calico.ipam.keys import block_key, handle_key
from calico.ipam.owning import ATTEMPTS
from calico.ipam.patience import PatientBackend

__all__ = ["Choose", "Placed", "Placing", "count_ops", "stored_by"]

Choose = Callable[[Block], tuple[Block, tuple[int, ...]]]
"""The block with addresses assigned, and their ordinals; none when it has nothing to give."""


class Placed(msgspec.Struct, frozen=True):
    """What was given out, and block and handle after it as far as we know (None: absent, or not known)."""

    ordinals: tuple[int, ...]
    stored: KeyValue | None
    block: Block | None = None
    handle: KeyValue | None = None


class _Write(msgspec.Struct, frozen=True):
    """One attempt whose answer may be lost."""

    block: Block
    ordinals: tuple[int, ...]
    sequence: int


class Placing:
    """Changes blocks, given what was last seen of them."""

    def __init__(self, backend: PatientBackend, clock: Callable[[], datetime]) -> None:
        self._backend, self._clock = backend, clock

    async def place(
        self,
        cidr: str,
        seen: KeyValue | None,
        attribute: Attribute,
        cooldown_s: int,
        choose: Choose,
        handle: KeyValue | None = None,
    ) -> Placed:
        """Let ``choose`` take addresses of a block until that is written; ``seen`` and ``handle`` may be outdated."""
        at, held_at = block_key(cidr), handle_key(attribute.handle) if attribute.handle is not None else ""
        lost: _Write | None = None
        for _ in range(ATTEMPTS):
            if seen is None:
                return Placed((), None, handle=handle)
            block = collect(decode_block(at, seen.value), self._clock(), cooldown_s)
            if lost is not None and (done := _happened(lost, block, attribute)):
                return Placed(done, seen, block, handle)
            after, ordinals = choose(block)
            if not ordinals:
                return Placed((), seen, block, handle)
            after = written(after)
            ops = [Op(at, encode_block(after), expect=seen.mod_revision)]
            if held_at:
                ops.append(_count(held_at, handle, cidr, len(ordinals)))
            try:
                revision = await self._backend.txn(ops)
            except CompareFailed as failed:
                seen, handle = failed.current.get(at), failed.current.get(held_at)
                continue
            except Uncertain:
                lost = _Write(after, ordinals, block.sequence)
                seen, handle = await self._read(at, held_at)
                continue
            new = [stored_by(op, revision) for op in ops]
            return Placed(ordinals, new[0], after, new[1] if held_at else None)
        raise Conflict(f"block {cidr} keeps changing while addresses are taken from it")

    async def _read(self, at: str, held_at: str) -> tuple[KeyValue | None, KeyValue | None]:
        if not held_at:
            return await self._backend.get(at), None
        block, handle = await asyncio.gather(self._backend.get(at), self._backend.get(held_at))
        return block, handle


def _count(key: str, stored: KeyValue | None, cidr: str, change: int) -> Op:
    """The write that counts addresses of a block in a handle, or deletes the handle with its last one."""
    before = decode_handle(key, stored.value) if stored is not None else Handle()
    after = counted(before, cidr, change)
    value = encode_handle(after) if after.blocks else None
    return Op(key, value, expect=stored.mod_revision if stored is not None else 0)


def stored_by(op: Op, revision: int) -> KeyValue:
    """A key as our write left it. Only the revision it was changed at matters to us."""
    return KeyValue(op.key, op.value or b"", revision, 0, 0)


def _happened(lost: _Write, block: Block, attribute: Attribute) -> tuple[int, ...]:
    """The addresses of a write whose answer was lost, when it did happen. Without a handle nobody can tell: then no."""
    if attribute.handle is None:
        return ()
    ours = [
        ordinal
        for ordinal in lost.ordinals
        if block.sequences.get(ordinal) == lost.sequence
        and (found := block.holder(ordinal)) is not None
        and same_handle(found.handle, attribute.handle)
    ]
    return tuple(ours)


def count_ops(counts: Sequence[tuple[str, KeyValue | None, int]], cidr: str) -> list[Op]:
    """The writes that count addresses of a block out of handles: (handle's key, what is stored, how many)."""
    return [_count(key, stored, cidr, -number) for key, stored, number in counts if stored is not None]
