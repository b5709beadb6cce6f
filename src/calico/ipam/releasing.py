"""Takes addresses back (spec §9.2): block and handles change in one transaction."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

import msgspec

from calico.datastore.api import CompareFailed, KeyValue, Op
from calico.errors import Conflict, Uncertain
from calico.ipam.block import (
    Attribute,
    Block,
    address_at,
    collect,
    is_empty,
    ordinal_of,
    release,
    same_handle,
    written,
)
from calico.ipam.block_codec import decode_block, encode_block
from calico.ipam.config import read_settings
from calico.ipam.handle import decode_handle
from calico.ipam.keys import Address, block_key, handle_key, parse_address
from calico.ipam.owning import ATTEMPTS
from calico.ipam.placing import count_ops, stored_by
from calico.ipam.pools import pool_around
from calico.ipam.requests import BadHandle, BadSequenceNumber, Released, ReleaseRequest
from calico.ipam.search import block_around
from calico.ipam.tools import Tools
from calico.ipam.view import read_kind
from calico.model.ippool import IPPool

__all__ = ["Releasing"]

_HANDLES_PER_WRITE = 100
_BITS = 12
_USUAL_SIZE = {4: 26, 6: 122}

Pick = Callable[[Block], Sequence[int]]
"""Which addresses of a block go, as it is now; they are given out."""


class Releasing:
    """Releases by address and by handle."""

    def __init__(self, tools: Tools) -> None:
        self._tools, self._backend = tools, tools.backend

    async def release_ips(self, requests: Sequence[ReleaseRequest]) -> Released:
        """See the allocator."""
        wanted = [(request, parse_address(request.address)) for request in requests]
        pools = await read_kind(self._backend, IPPool)
        stored = await asyncio.gather(*(self._find(address, pools) for _, address in wanted))
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
            released += await self._release(blocks[key], asked.pick, {})
            total.unallocated |= asked.unallocated
            total.refused |= asked.refused
        gone = set(released)
        return Released(
            tuple(released),
            tuple(address for address in total.unallocated if address not in gone),
            {address: error for address, error in total.refused.items() if address not in gone},
        )

    async def release_by_handle(self, handle: str) -> tuple[str, ...]:
        """See the allocator."""
        key = handle_key(handle)
        released: list[str] = []
        for _ in range(ATTEMPTS):
            stored = await self._backend.get(key)
            if stored is None:
                return tuple(released)
            found = await self._tools.cache.read(decode_handle(key, stored.value).blocks)
            if not found:
                await self._write((Op(key, expect=stored.mod_revision),))
            for cidr, block in found.items():
                if block is not None:
                    released += await self._release(block, lambda now: now.ordinals_of(handle), {key: stored})
                await self._forget(key, handle, cidr)
        raise Conflict(f"handle {handle} keeps getting addresses while it is released")

    async def _forget(self, key: str, handle: str, cidr: str) -> None:
        """Take a block out of a handle that holds nothing there (any more): what a crash of another client left."""
        stored, block = await asyncio.gather(self._backend.get(key), self._backend.get(block_key(cidr)))
        if stored is None or not (count := decode_handle(key, stored.value).blocks.get(cidr)):
            return
        if block is not None and decode_block(block.key, block.value).ordinals_of(handle):
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
        return tuple(decode_block(kv.key, kv.value) for kv in found.values() if kv is not None)

    async def block_with(self, address: Address) -> KeyValue | None:
        """The block that an address lies in; None when there is none."""
        return await self._find(address, await read_kind(self._backend, IPPool))

    async def _find(self, address: Address, pools: Iterable[IPPool]) -> KeyValue | None:
        """The block by the pool's size; where that is not there (a pool that is gone), one of any size."""
        first = _size_in(address, pools)
        found = await self._get_block(address, first)
        if found is not None:
            return found
        longest = address.max_prefixlen
        sizes = [size for size in range(longest - _BITS, longest + 1) if size != first]
        others = await asyncio.gather(*(self._get_block(address, size) for size in sizes))
        return next((kv for kv in others if kv is not None), None)

    async def _get_block(self, address: Address, size: int) -> KeyValue | None:
        cidr = block_around(address, size)
        return (await self._tools.cache.read([cidr]))[cidr]

    # ---- one block

    async def _release(self, seen: KeyValue, pick: Pick, handles: dict[str, KeyValue | None]) -> list[str]:
        """Release what ``pick`` says, as often as it says something; the addresses that are free now."""
        settings, _ = await read_settings(self._backend)
        at, released = seen.key, dict[str, None]()
        stored: KeyValue | None = seen
        lost: tuple[_Held, ...] = ()
        for _ in range(ATTEMPTS):
            if stored is None:
                released |= dict.fromkeys(held.address for held in lost)
                return list(released)
            now = self._tools.now()
            block = collect(decode_block(at, stored.value), now, settings.cooldown_s)
            released |= dict.fromkeys(held.address for held in lost if not _still(block, held))
            going = _some(block, pick(block))
            if not going:
                return list(released)
            after = release(block, [held.ordinal for held in going], now, settings.cooldown_s)
            gone = after.affinity is None and is_empty(after)
            ops = [Op(at, None if gone else encode_block(written(after)), expect=stored.mod_revision)]
            counts = Counter(handle_key(held.handle) for held in going if held.handle)
            await self._read_handles(counts, handles)
            ops += count_ops([(key, handles[key], count) for key, count in counts.items()], block.cidr)
            try:
                revision = await self._backend.txn(ops)
            except CompareFailed as failed:
                stored, lost = failed.current.get(at), ()
                handles = {key: failed.current.get(key) for key in counts if handles[key] is not None}
                continue
            except Uncertain:
                stored, lost = await self._backend.get(at), going
                handles = {}
                continue
            released |= dict.fromkeys(held.address for held in going)
            handles = {}
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


def _size_in(address: Address, pools: Iterable[IPPool]) -> int:
    pool, _ = pool_around(pools, address)
    return pool.block_size if pool is not None else _USUAL_SIZE[address.version]
