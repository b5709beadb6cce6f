"""Carries claims and releases of blocks out against a datastore that others change at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from calico.datastore.api import CompareFailed, KeyValue
from calico.errors import Conflict, Uncertain
from calico.ipam.choice.claims import plan_claim, plan_reclaim, plan_release, writes
from calico.ipam.steps.patience import PatientBackend
from calico.ipam.stored.block import Block
from calico.ipam.stored.block_codec import decode_block
from calico.ipam.stored.keys import affinity_key, block_key

__all__ = ["ATTEMPTS", "Owning", "nanoseconds"]

ATTEMPTS = 100


def nanoseconds(moment: datetime) -> int:
    """The wall clock as new blocks are numbered."""
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000


class Owning:
    """Each call goes on until what it planned was written on what it had read, or there is nothing to write."""

    def __init__(self, backend: PatientBackend, clock: Callable[[], datetime]) -> None:
        self._backend, self._clock = backend, clock

    async def claim(self, owner: str, cidr: str, *, looks_free: bool = False) -> Block | None:
        """The block, now the owner's; None when it is another's. ``looks_free``: try without reading first."""
        affinity = block = None
        known = looks_free
        for _ in range(ATTEMPTS):
            if not known:
                affinity, block = await self._read(owner, cidr)
            known = False
            now = self._clock()
            plan = plan_claim(owner, cidr, affinity, block, now, nanoseconds(now))
            if not writes(plan.ops):
                return plan.block
            try:
                await self._backend.txn(plan.ops)
            except (CompareFailed, Uncertain):
                continue
            return plan.block
        raise Conflict(f"block {cidr} keeps changing while it is claimed for {owner}")

    async def reclaim(self, owner: str, seen: KeyValue, cooldown_s: int) -> Block | None:
        """Take over another's empty block; None when it is no longer as it was seen, or in use."""
        found = decode_block(seen.key, seen.value)
        if found.affinity is None:
            return None
        theirs, ours = await asyncio.gather(
            self._backend.get(affinity_key(found.affinity, found.cidr)),
            self._backend.get(affinity_key(owner, found.cidr)),
        )
        now = self._clock()
        plan = plan_reclaim(owner, seen, theirs, ours, now, nanoseconds(now), cooldown_s)
        if not writes(plan.ops):
            return None
        try:
            await self._backend.txn(plan.ops)
        except CompareFailed:
            return None
        except Uncertain:
            return await self._if_ours(owner, found.cidr)
        return plan.block

    async def _if_ours(self, owner: str, cidr: str) -> Block | None:
        """After a lost answer: the block when it is the owner's now."""
        kv = await self._backend.get(block_key(cidr))
        block = decode_block(kv.key, kv.value) if kv is not None else None
        return block if block is not None and block.affinity == owner else None

    async def release(self, owner: str, cidr: str, cooldown_s: int, *, only_empty: bool = False) -> str:
        """Give a block up; why it stays, when it does."""
        for _ in range(ATTEMPTS):
            affinity, block = await self._read(owner, cidr)
            plan = plan_release(owner, cidr, affinity, block, self._clock(), cooldown_s, only_empty=only_empty)
            if not writes(plan.ops):
                return plan.kept
            try:
                await self._backend.txn(plan.ops)
            except (CompareFailed, Uncertain):
                continue
            return ""
        raise Conflict(f"block {cidr} keeps changing while {owner} gives it up")

    async def _read(self, owner: str, cidr: str) -> tuple[KeyValue | None, KeyValue | None]:
        affinity, block = await asyncio.gather(
            self._backend.get(affinity_key(owner, cidr)), self._backend.get(block_key(cidr))
        )
        return affinity, block
