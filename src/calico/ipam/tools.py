"""What every operation of the allocator works with: the datastore, the clock, and the steps on blocks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from calico.datastore.api import KeyValue
from calico.ipam.affinity import Affinity
from calico.ipam.blockcache import BlockCache
from calico.ipam.keys import blocks_prefix, parse_block_key
from calico.ipam.owning import Owning, nanoseconds
from calico.ipam.patience import PatientBackend
from calico.ipam.placing import Placing
from calico.ipam.view import read_affinities

__all__ = ["Tools"]


class Tools:
    """Shared by all operations of one allocator."""

    def __init__(self, backend: PatientBackend, now: Callable[[], datetime]) -> None:
        self.backend, self.now = backend, now
        self.cache = BlockCache(backend)
        self.owning = Owning(backend, now)
        self.placing = Placing(backend, now)

    def now_ns(self) -> int:
        """The wall clock in nanoseconds."""
        return nanoseconds(self.now())

    async def affinities(self, owner: str, version: int) -> dict[str, Affinity]:
        """The blocks of an owner now."""
        return await read_affinities(self.backend, owner, version)

    async def blocks(self, version: int) -> dict[str, KeyValue]:
        """All blocks of the cluster by CIDR: for when nothing else helps."""
        listing = await self.backend.list(blocks_prefix(version))
        return {cidr: kv for kv in listing.items if (cidr := parse_block_key(kv.key))}
