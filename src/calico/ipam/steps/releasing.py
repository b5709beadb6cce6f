"""Takes addresses back, by address or by handle (spec §9.2)."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

from calico.datastore.api import CompareFailed, KeyValue, Op, Query
from calico.errors import Conflict, Uncertain
from calico.ipam.requests import BadHandle, BadSequenceNumber, Released, ReleaseRequest
from calico.ipam.steps.freeing import Freeing
from calico.ipam.steps.locating import find_block
from calico.ipam.steps.owning import ATTEMPTS
from calico.ipam.steps.placing import count_ops
from calico.ipam.steps.tools import Tools
from calico.ipam.steps.view import read_kind
from calico.ipam.stored.block import Attribute, Block, ordinal_of, same_handle
from calico.ipam.stored.block_codec import DamagedBlock, known_block
from calico.ipam.stored.config import decode_settings, read_settings
from calico.ipam.stored.handle import decode_handle
from calico.ipam.stored.keys import CONFIG_KEY, Address, block_key, handle_key, parse_address
from calico.model.ippool import IPPool

__all__ = ["Releasing"]


class Releasing:
    """See the allocator, which offers these."""

    def __init__(self, tools: Tools) -> None:
        self._tools, self._backend = tools, tools.backend
        self._freeing = Freeing(tools)

    async def release_ips(self, requests: Sequence[ReleaseRequest]) -> Released:
        """Block by block."""
        wanted = [(request, parse_address(request.address)) for request in requests]
        pools, (settings, _) = await asyncio.gather(read_kind(self._backend, IPPool), read_settings(self._backend))
        stored = await asyncio.gather(*(find_block(self._tools, address, pools) for _, address in wanted))
        picks: dict[str, _Asked] = defaultdict(_Asked)
        blocks: dict[str, KeyValue] = {}
        total = _Asked()
        for (request, address), kv in zip(wanted, stored, strict=True):
            if kv is None:
                total.unallocated[request.address] = None
            else:
                blocks[kv.key] = kv
                picks[kv.key].requests.append((request, address))
        released: list[str] = []
        for key, asked in picks.items():
            released += await self._freeing.free(blocks[key], asked.pick, {}, settings.cooldown_s)
            total.unallocated |= asked.unallocated
            total.refused |= asked.refused
        gone = set(released)
        return Released(
            tuple(released),
            tuple(address for address in total.unallocated if address not in gone),
            {address: error for address, error in total.refused.items() if address not in gone},
        )

    async def release_by_handle(self, handle: str) -> tuple[str, ...]:
        """All that the handle had when it was read."""
        key = handle_key(handle)
        released: list[str] = []
        for _ in range(ATTEMPTS):
            found, settings = await self._backend.read([Query(key), Query(CONFIG_KEY)])
            if not found:
                return tuple(released)
            cooldown_s = decode_settings(settings[0].value if settings else None).cooldown_s
            counts = decode_handle(key, found[0].value).blocks
            if not counts:
                await self._write((Op(key, expect=found[0].mod_revision),))
            handles: dict[str, KeyValue | None] = {key: found[0]}
            short = []
            for cidr, block in (await self._holding(handle, counts)).items():
                gone = []
                if block is not None:
                    gone = await self._freeing.free(block, lambda now: now.ordinals_of(handle), handles, cooldown_s)
                released += gone
                if len(gone) < counts[cidr]:
                    short.append(cidr)
            if counts and not short:
                return tuple(released)
            for cidr in short:
                await self._forget(key, handle, cidr)
        raise Conflict(f"handle {handle} keeps getting addresses while it is released")

    async def _holding(self, handle: str, counts: Mapping[str, int]) -> dict[str, KeyValue | None]:
        """The handle's blocks, as they were last seen where the handle's addresses are there, else read."""
        seen: dict[str, KeyValue | None] = {}
        for cidr, count in counts.items():
            kv = self._tools.cache.last(cidr)
            if kv is not None and _holds(kv, handle, count):
                seen[cidr] = kv
        return seen | await self._tools.cache.read(cidr for cidr in counts if cidr not in seen)

    async def _forget(self, key: str, handle: str, cidr: str) -> None:
        """Take a block out of a handle that holds nothing there (any more): what a crash of another client left."""
        stored, block = await asyncio.gather(self._backend.get(key), self._backend.get(block_key(cidr)))
        if stored is None or not (count := decode_handle(key, stored.value).blocks.get(cidr)):
            return
        if block is not None and known_block(block.key, block.value).ordinals_of(handle):
            return
        same = Op(block_key(cidr), expect=block.mod_revision if block is not None else 0, check_only=True)
        await self._write((*count_ops([(key, stored, count)], cidr), same))

    async def _write(self, ops: Sequence[Op]) -> None:
        """A write that the next round repeats when it did not happen."""
        try:
            await self._backend.txn(ops)
        except (CompareFailed, Uncertain):
            pass

    async def blocks_of(self, handle: str) -> tuple[Block, ...]:
        """The blocks in which a handle is said to hold addresses."""
        stored = await self._backend.get(handle_key(handle))
        if stored is None:
            return ()
        found = await self._tools.cache.read(decode_handle(stored.key, stored.value).blocks)
        return tuple(known_block(kv.key, kv.value) for kv in found.values() if kv is not None)

    async def block_with(self, address: Address) -> KeyValue | None:
        """The block that an address lies in; None when there is none."""
        return await find_block(self._tools, address, await read_kind(self._backend, IPPool))


def _holds(kv: KeyValue, handle: str, count: int) -> bool:
    try:
        return len(known_block(kv.key, kv.value).ordinals_of(handle)) == count
    except DamagedBlock:
        return False


class _Asked:
    """The requests about one block: which addresses they take, and what became of the others."""

    def __init__(self) -> None:
        self.requests: list[tuple[ReleaseRequest, Address]] = []
        self.unallocated: dict[str, None] = {}
        self.refused: dict[str, Conflict] = {}

    def pick(self, block: Block) -> list[int]:
        """The addresses that go, as the block is now."""
        self.unallocated, self.refused = {}, {}
        picked = []
        for request, address in self.requests:
            ordinal = ordinal_of(block, address)
            held = block.holder(ordinal)
            if held is None:
                self.unallocated[request.address] = None
            elif refusal := _refusal(block, ordinal, held, request):
                self.refused[request.address] = refusal
            else:
                picked.append(ordinal)
        return picked


def _refusal(block: Block, ordinal: int, held: Attribute, request: ReleaseRequest) -> Conflict | None:
    if request.handle is not None and not same_handle(held.handle, request.handle):
        return BadHandle(f"{request.address} is held under handle {held.handle!r}, not {request.handle!r}")
    number = block.sequences.get(ordinal)
    if request.sequence is not None and number != request.sequence:
        return BadSequenceNumber(f"{request.address} was given out as number {number}, not {request.sequence}")
    return None
