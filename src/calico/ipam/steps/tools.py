"""What every operation of the allocator works with: the datastore, the clock, and the steps on blocks."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from datetime import datetime

from calico.datastore.api import KeyValue, Listing
from calico.ipam.steps.blockcache import BlockCache
from calico.ipam.steps.owning import Owning, nanoseconds
from calico.ipam.steps.patience import PatientBackend
from calico.ipam.steps.placing import Placing
from calico.ipam.steps.sharedreads import SharedReads
from calico.ipam.steps.turns import Turns
from calico.ipam.steps.view import View, read_affinities, read_view
from calico.ipam.stored.affinity import Affinity
from calico.ipam.stored.keys import blocks_prefix, parse_block_key

__all__ = ["Tools"]

_REMEMBERED = 16


class Tools:
    """Shared by all operations of one allocator."""

    def __init__(self, backend: PatientBackend, now: Callable[[], datetime]) -> None:
        self.backend, self.now = backend, now
        self.cache = BlockCache(backend)
        self.owning = Owning(backend, now)
        self.turns = Turns()
        self.placing = Placing(backend, now, self.cache, self.turns)
        self.views = SharedReads[tuple[str, str, tuple[int, ...]], View]()
        self._listings = SharedReads[int, Listing]()
        self.claiming: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._claimed: defaultdict[tuple[str, int], deque[str]] = defaultdict(lambda: deque(maxlen=_REMEMBERED))

    async def view(self, owner: str, hostname: str, versions: tuple[int, ...]) -> View:
        """What holds now; requests that wait for a view of the same take one together."""
        return await self.views.read(
            (owner, hostname, versions), lambda: read_view(self.backend, owner, hostname, versions)
        )

    def claimed(self, owner: str, version: int) -> Iterable[str]:
        """The blocks that this process claimed last for an owner; some may be gone."""
        return tuple(self._claimed[owner, version])

    def note_claim(self, owner: str, version: int, cidr: str) -> None:
        """Remember it, for requests that looked before."""
        if cidr not in self._claimed[owner, version]:
            self._claimed[owner, version].append(cidr)

    def now_ns(self) -> int:
        """The wall clock in nanoseconds."""
        return nanoseconds(self.now())

    async def affinities(self, owner: str, version: int) -> dict[str, Affinity]:
        """The blocks of an owner now."""
        return await read_affinities(self.backend, owner, version)

    async def blocks(self, version: int) -> dict[str, KeyValue]:
        """All blocks of the cluster by CIDR: for when nothing else helps."""
        listing = await self._listings.read(version, lambda: self.backend.list(blocks_prefix(version)))
        return {cidr: kv for kv in listing.items if (cidr := parse_block_key(kv.key))}
