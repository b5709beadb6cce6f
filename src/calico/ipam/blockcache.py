"""Blocks as they were last seen: hints that save a read, since every write is compared with what is stored."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable

from calico.datastore.api import KeyValue
from calico.ipam.keys import block_key
from calico.ipam.patience import PatientBackend

__all__ = ["BlockCache"]

_KEPT = 256


class BlockCache:
    """The blocks used last."""

    def __init__(self, backend: PatientBackend) -> None:
        self._backend = backend
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
        """The blocks now, asked for at once."""
        wanted = list(cidrs)
        found = await asyncio.gather(*(self._backend.get(block_key(cidr)) for cidr in wanted))
        for cidr, stored in zip(wanted, found, strict=True):
            self.note(cidr, stored)
        return dict(zip(wanted, found, strict=True))
