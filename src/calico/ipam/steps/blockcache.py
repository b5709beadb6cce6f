"""Blocks as they were last seen: hints that save a read, since every write is compared with what is stored."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from functools import partial

from calico.datastore.api import KeyValue, Query
from calico.datastore.ops import MAX_OPS
from calico.ipam.steps.patience import PatientBackend
from calico.ipam.steps.sharedreads import SharedReads
from calico.ipam.stored.keys import block_key

__all__ = ["BlockCache"]

_KEPT = 256


class BlockCache:
    """The blocks used last."""

    def __init__(self, backend: PatientBackend) -> None:
        self._backend = backend
        self._reads = SharedReads[tuple[str, ...], dict[str, KeyValue | None]]()
        self._seen: OrderedDict[str, KeyValue] = OrderedDict()

    def last(self, cidr: str) -> KeyValue | None:
        """The block as last seen."""
        return self._seen.get(cidr)

    def note(self, cidr: str, stored: KeyValue | None) -> None:
        """Remember what was seen."""
        self._seen.pop(cidr, None)
        if stored is not None:
            self._seen[cidr] = stored
            while len(self._seen) > _KEPT:
                self._seen.popitem(last=False)

    async def read(self, cidrs: Iterable[str]) -> dict[str, KeyValue | None]:
        """The blocks now, in one round trip; who asks for the same at the same time shares it."""
        wanted = tuple(cidrs)
        parts = [wanted[start : start + MAX_OPS] for start in range(0, len(wanted), MAX_OPS)]
        found = await asyncio.gather(*(self._reads.read(part, partial(self._read, part)) for part in parts))
        return {cidr: stored for part in found for cidr, stored in part.items()}

    async def _read(self, cidrs: tuple[str, ...]) -> dict[str, KeyValue | None]:
        answers = await self._backend.read([Query(block_key(cidr)) for cidr in cidrs])
        found = {cidr: answer[0] if answer else None for cidr, answer in zip(cidrs, answers, strict=True)}
        for cidr, stored in found.items():
            self.note(cidr, stored)
        return found
