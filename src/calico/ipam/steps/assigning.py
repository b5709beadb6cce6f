"""One request for addresses of one IP version: own blocks first, then a new one, then what others have (spec §9.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from calico.datastore.api import KeyValue
from calico.errors import InvalidInput
from calico.ipam.choice.claims import is_reclaimable
from calico.ipam.choice.pools import Choice, Pool
from calico.ipam.choice.ranges import Ranges
from calico.ipam.choice.search import free_blocks, host_seed
from calico.ipam.choice.unselected import unselected_blocks
from calico.ipam.requests import AssignRequest
from calico.ipam.steps.tools import Tools
from calico.ipam.steps.view import View
from calico.ipam.stored.affinity import CONFIRMED, Affinity
from calico.ipam.stored.block import Attribute, Block, address_at, assign, collect
from calico.ipam.stored.block_codec import DamagedBlock, known_block
from calico.ipam.stored.keys import Address, Network, network

__all__ = ["Assigning"]

_BLIND_TRIES = 3
"""So many blocks are claimed on the chance that they are free, before all blocks are listed."""


class Assigning:
    """Collects addresses until there are enough or nothing is left to try; ``reasons`` tells what was tried."""

    def __init__(
        self, tools: Tools, view: View, request: AssignRequest, owner: str, choice: Choice, version: int, count: int
    ) -> None:
        self._tools, self._view, self._request, self._owner = tools, view, request, owner
        self._pools, self._version, self._count = choice.pools, version, count
        self._attribute = Attribute(request.handle, dict(request.attrs))
        self._affinities: dict[str, Affinity] = {**view.affinities[version]}
        self._tried: set[str] = set()
        self._exhausted: set[str] = set()
        self._handle: KeyValue | None = None
        self.found: list[Address] = []
        self.reasons: list[str] = [f"IPPool {name}: {fault}" for name, fault in sorted(choice.refused.items())]

    async def run(self, handle: KeyValue | None) -> KeyValue | None:
        """Fill ``found`` as far as possible. Takes and gives the handle as last seen."""
        self._handle = handle
        if not self._pools:
            self.reasons.insert(0, f"there is no IPv{self._version} pool to assign from")
            return handle
        await self._from_own()
        while self._missing and await self._another_block():
            await self._from_own()
        if self._missing:
            await self._from_others()
        return self._handle

    @property
    def _missing(self) -> int:
        return self._count - len(self.found)

    # ---- own blocks

    async def _from_own(self) -> None:
        mine = [cidr for cidr in self._affinities if cidr not in self._tried and self._pool_of(network(cidr))]
        for cidr in mine:
            seen = self._tools.cache.last(cidr)
            if self._missing and seen is not None and self._affinities[cidr].holds and self._gives(seen):
                await self._take(cidr, mine_only=True)
        mine = [cidr for cidr in mine if cidr not in self._tried]
        if not self._missing or not mine:
            return
        stored = await self._tools.cache.read(mine)
        for cidr in sorted(mine, key=lambda cidr: not self._affinities[cidr].holds):
            if not self._missing:
                return
            self._tried.add(cidr)
            kv = stored[cidr]
            if self._affinities[cidr].holds and kv is not None and not self._is_of_another(kv):
                await self._take(cidr, mine_only=True, read_at=kv.mod_revision)
            elif await self._claimed(cidr):  # a claim that was cut short; one that lost is tidied away
                self._tools.cache.note(cidr, None)
                await self._take(cidr, mine_only=True)

    def _is_of_another(self, seen: KeyValue) -> bool:
        block = self._decoded(seen)
        return block is not None and block.affinity != self._owner

    def _gives(self, seen: KeyValue) -> bool:
        block = self._decoded(seen)
        return block is not None and bool(self._choose(block)[1])

    # ---- another block

    async def _another_block(self) -> bool:
        """Whether the owner has a block that was not tried, after claiming one if need be."""
        async with self._tools.claiming[self._owner, self._version]:
            if self._learn(self._tools.claimed(self._owner, self._version)):
                return True  # another request claimed it meanwhile
            self._affinities = {**await self._tools.affinities(self._owner, self._version)}
            if any(cidr not in self._tried and self._pool_of(network(cidr)) for cidr in self._affinities):
                return True
            cidr = await self._claim_new()
            if cidr:
                self._tools.note_claim(self._owner, self._version, cidr)
            return self._learn([cidr] if cidr else [])

    def _learn(self, cidrs: Iterable[str]) -> bool:
        new = [cidr for cidr in cidrs if cidr not in self._tried and self._pool_of(network(cidr))]
        self._affinities |= dict.fromkeys(new, CONFIRMED)
        return bool(new)

    async def _claim_new(self) -> str:
        """A new block of the first pool that has one; empty, with the reasons noted, when there is none."""
        settings = self._view.settings
        if not settings.auto_allocate_blocks:
            self.reasons.append("autoAllocateBlocks is off, so no block is claimed")
            return ""
        await self._give_up_unselected()
        allowed = settings.blocks_allowed(self._request.max_blocks)
        if len(self._affinities) >= allowed:
            self.reasons.append(f"{self._owner} has {len(self._affinities)} blocks, and may have {allowed}")
            return ""
        for pool in self._pools:
            if pool.name not in self._exhausted:
                if cidr := await self._new_block(pool):
                    return cidr
                self._exhausted.add(pool.name)
                self.reasons.append(f"IPPool {pool.name}: every block of {pool.network} is claimed")
        return ""

    async def _give_up_unselected(self) -> None:
        """Before a host takes a block it gives back the empty ones of pools that it is no longer meant for."""
        if not self._owner.startswith("host:"):
            return
        cooldown_s = self._view.settings.cooldown_s
        for cidr in unselected_blocks(self._affinities, self._view.pools, self._view.node_labels):
            try:
                kept = await self._tools.owning.release(self._owner, cidr, cooldown_s, only_empty=True)
            except InvalidInput as error:
                kept = str(error)
            if not kept:
                del self._affinities[cidr]

    async def _new_block(self, pool: Pool) -> str:
        """Claim any block of a pool that nobody has, or that nobody uses; empty when there is none."""
        seed = host_seed(self._owner.partition(":")[2])
        if pool.block_size == pool.network.max_prefixlen:
            seed = self._tools.now_ns()
        reserved = self._view.reserved[self._version]
        own = Ranges(network(cidr) for cidr in (*self._affinities, *self._tried))
        for number, block in enumerate(free_blocks(pool.network, pool.block_size, seed, own, reserved)):
            if number == _BLIND_TRIES:
                break
            if await self._claimed(str(block), looks_free=True):
                return str(block)
        listing = await self._tools.blocks(self._version)
        occupied = Ranges(network(cidr) for cidr in listing if cidr)
        for block in free_blocks(pool.network, pool.block_size, seed, occupied, reserved):
            if await self._claimed(str(block), looks_free=True):
                return str(block)
        return await self._reclaimed(pool, listing)

    async def _reclaimed(self, pool: Pool, listing: Mapping[str, KeyValue]) -> str:
        """Take over another owner's empty block."""
        cooldown_s = self._view.settings.cooldown_s
        for cidr, seen in listing.items():
            block = self._decoded(seen) if network(cidr).subnet_of(pool.network) else None  # type: ignore[arg-type]
            if block is None or not is_reclaimable(block, self._owner, self._tools.now()):
                continue
            try:
                if await self._tools.owning.reclaim(self._owner, seen, cooldown_s) is not None:
                    return cidr
            except InvalidInput as error:
                self.reasons.append(f"block {cidr}: it is empty, but could not be taken over: {error}")
        return ""

    async def _claimed(self, cidr: str, *, looks_free: bool = False) -> bool:
        try:
            return await self._tools.owning.claim(self._owner, cidr, looks_free=looks_free) is not None
        except DamagedBlock as error:
            self.reasons.append(str(error))
            return False

    # ---- blocks of others

    async def _from_others(self) -> None:
        if self._view.settings.strict_affinity:
            self.reasons.append("strict affinity is on, so nothing is borrowed from blocks of others")
            return
        for cidr, seen in (await self._tools.blocks(self._version)).items():
            if not self._missing:
                return
            if cidr not in self._tried and self._pool_of(network(cidr)) and self._gives(seen):
                self._tools.cache.note(cidr, seen)
                await self._take(cidr, mine_only=False, read_at=seen.mod_revision)
        if self._missing:
            self.reasons.append("no block of others has an address that is free")

    # ---- one block

    async def _take(self, cidr: str, *, mine_only: bool, read_at: int = 0) -> None:
        """What the block has to give, beginning with what the cache knows of it."""
        self._tried.add(cidr)

        def choose(block: Block) -> tuple[Block, tuple[int, ...]]:
            return (block, ()) if mine_only and block.affinity != self._owner else self._choose(block)

        cooldown_s = self._view.settings.cooldown_s
        try:
            placed = await self._tools.placing.place(cidr, self._attribute, cooldown_s, choose, self._handle, read_at)
        except DamagedBlock as error:
            self.reasons.append(str(error))
            return
        self._handle = placed.handle
        if placed.block is not None:
            self.found.extend(address_at(placed.block, ordinal) for ordinal in placed.ordinals)

    def _choose(self, block: Block) -> tuple[Block, tuple[int, ...]]:
        base, reserved = int(block.network.network_address), self._view.reserved[self._version]
        return assign(block, self._missing, self._attribute, lambda ordinal: base + ordinal in reserved)

    def _decoded(self, seen: KeyValue) -> Block | None:
        try:
            return collect(known_block(seen.key, seen.value), self._tools.now(), self._view.settings.cooldown_s)
        except DamagedBlock:
            return None

    def _pool_of(self, block: Network) -> Pool | None:
        for pool in self._pools:
            if block.version == pool.version and block.subnet_of(pool.network):  # type: ignore[arg-type]
                return pool
        return None
