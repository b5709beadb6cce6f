"""Finds the block of an address: by its pool, and where the pool is gone or has changed, by trying every size."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from calico.datastore.api import KeyValue
from calico.ipam.choice.pools import pool_around
from calico.ipam.choice.search import block_around
from calico.ipam.steps.tools import Tools
from calico.ipam.stored.keys import Address
from calico.model.ippool import IPPool

__all__ = ["find_block"]

_BITS = 12
_USUAL_SIZE = {4: 26, 6: 122}


async def find_block(tools: Tools, address: Address, pools: Iterable[IPPool]) -> KeyValue | None:
    """The block that an address lies in; None when there is none."""
    pool, _ = pool_around(pools, address)
    first = pool.block_size if pool is not None else _USUAL_SIZE[address.version]
    found = await _read(tools, address, first)
    if found is not None:
        return found
    longest = address.max_prefixlen
    sizes = [size for size in range(longest - _BITS, longest + 1) if size != first]
    others = await asyncio.gather(*(_read(tools, address, size) for size in sizes))
    return next((kv for kv in others if kv is not None), None)


async def _read(tools: Tools, address: Address, size: int) -> KeyValue | None:
    cidr = block_around(address, size)
    return (await tools.cache.read([cidr]))[cidr]
