"""Takes addresses of one block back: the block and the handles of the addresses change in one transaction."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import msgspec

from calico.datastore.api import CompareFailed, KeyValue, Op
from calico.errors import Conflict, Uncertain
from calico.ipam.block import Block, address_at, collect, is_empty, release, written
from calico.ipam.block_codec import encode_block, known_block
from calico.ipam.keys import handle_key, parse_block_key
from calico.ipam.owning import ATTEMPTS
from calico.ipam.placing import count_ops, stored_by
from calico.ipam.tools import Tools

__all__ = ["Freeing", "Pick"]

_HANDLES_PER_WRITE = 100

Pick = Callable[[Block], Sequence[int]]
"""Which addresses of a block go, as it is now; they are given out."""


class Freeing:
    """Releases in one block after the other."""

    def __init__(self, tools: Tools) -> None:
        self._tools, self._backend = tools, tools.backend

    async def free(self, seen: KeyValue, pick: Pick, handles: dict[str, KeyValue | None], cooldown_s: int) -> list[str]:
        """Release what ``pick`` says, as often as it says something; the addresses that are free now.

        ``seen`` and ``handles`` (by key) may be outdated; the latter is kept up. Who changes the same block in this
        process waits for one another, and goes on from what the last one wrote.
        """
        cidr = parse_block_key(seen.key)
        async with self._tools.turns.of(cidr):
            last = self._tools.cache.last(cidr)
            newest = last if last is not None and last.mod_revision > seen.mod_revision else seen
            return await self._free(newest, pick, handles, cooldown_s)

    async def _free(
        self, seen: KeyValue, pick: Pick, handles: dict[str, KeyValue | None], cooldown_s: int
    ) -> list[str]:
        at, released = seen.key, dict[str, None]()
        stored: KeyValue | None = seen
        lost: tuple[_Held, ...] = ()
        for _ in range(ATTEMPTS):
            if stored is None:
                released |= dict.fromkeys(held.address for held in lost)
                return list(released)
            now = self._tools.now()
            block = collect(known_block(at, stored.value), now, cooldown_s)
            released |= dict.fromkeys(held.address for held in lost if not _still(block, held))
            going = _some(block, pick(block))
            if not going:
                return list(released)
            after = release(block, [held.ordinal for held in going], now, cooldown_s)
            gone = after.affinity is None and is_empty(after)
            ops = [Op(at, None if gone else encode_block(written(after)), expect=stored.mod_revision)]
            counts = Counter(handle_key(held.handle) for held in going if held.handle)
            await self._read_handles(counts, handles)
            ops += count_ops([(key, handles[key], count) for key, count in counts.items()], block.cidr)
            try:
                revision = await self._backend.txn(ops)
            except CompareFailed as failed:
                stored = failed.current.get(at)
                expected = [key for key in counts if handles[key] is not None]
                handles.clear()
                handles.update({key: failed.current.get(key) for key in expected})
                continue
            except Uncertain:
                stored, lost = await self._backend.get(at), going
                handles.clear()
                continue
            released |= dict.fromkeys(held.address for held in going)
            handles.update({op.key: stored_by(op, revision) if op.value is not None else None for op in ops[1:]})
            stored = None if gone else stored_by(ops[0], revision)
            self._tools.cache.note(block.cidr, stored)
            lost = ()
        raise Conflict(f"block {at} keeps changing while addresses in it are released")

    async def _read_handles(self, wanted: Iterable[str], handles: dict[str, KeyValue | None]) -> None:
        missing = [key for key in wanted if key not in handles]
        found = await asyncio.gather(*(self._backend.get(key) for key in missing))
        handles.update(zip(missing, found, strict=True))


class _Held(msgspec.Struct, frozen=True):
    """An address as it was given out."""

    ordinal: int
    address: str
    handle: str
    sequence: int | None


def _some(block: Block, ordinals: Iterable[int]) -> tuple[_Held, ...]:
    """As many of them as fit into one transaction."""
    going: list[_Held] = []
    handles: set[str] = set()
    for ordinal in ordinals:
        held = block.holder(ordinal)
        handle = (held.handle or "").partition("\r")[0] if held is not None else ""
        handles.add(handle)
        if len(handles) > _HANDLES_PER_WRITE:
            break
        going.append(_Held(ordinal, str(address_at(block, ordinal)), handle, block.sequences.get(ordinal)))
    return tuple(going)


def _still(block: Block, held: _Held) -> bool:
    """Whether an address is given out as it was."""
    now = block.holder(held.ordinal)
    return now is not None and block.sequences.get(held.ordinal) == held.sequence
