"""In which order a host looks for a block in a pool (spec §9.2). Pure."""

from __future__ import annotations

from collections.abc import Iterator

from calico.ipam.choice.ranges import Ranges
from calico.ipam.stored.keys import Address, Network

__all__ = ["block_around", "free_blocks", "host_seed"]

_FNV_OFFSET, _FNV_PRIME = 2166136261, 16777619
_MASK = (1 << 64) - 1


def host_seed(host: str) -> int:
    """FNV-1, 32 bits, of a host's name."""
    seed = _FNV_OFFSET
    for octet in host.encode():
        seed = (seed * _FNV_PRIME & 0xFFFFFFFF) ^ octet
    return seed


def free_blocks(pool: Network, block_size: int, seed: int, occupied: Ranges, reserved: Ranges) -> Iterator[Network]:
    """The blocks of a pool that touch nothing occupied and are not wholly reserved, each once.

    From a place that the seed decides to the end, then from the start. The seed is mixed first: the seeds of hosts
    numbered in a row lie in a row, and so would their blocks. Ranges are stepped over, however long.
    """
    count = 1 << (block_size - pool.prefixlen) if block_size >= pool.prefixlen else 0
    if not count:
        return
    start = _mixed(seed) % count
    for first, end in ((start, count), (0, start)):
        index = first
        while index < end:
            block = _block(pool, block_size, index)
            after = _blocked_until(pool, block, occupied, reserved)
            if after is None:
                yield block
            index = index + 1 if after is None else max(index + 1, after)


def _blocked_until(pool: Network, block: Network, occupied: Ranges, reserved: Ranges) -> int | None:
    """The index of the first block that may be free again, when this one is not."""
    first, last = int(block.network_address), int(block.broadcast_address)
    width = last - first + 1
    base = int(pool.network_address)
    taken = occupied.next_within(first, last)
    if taken is not None:
        return -((base - taken - 1) // width)
    end = reserved.end_of(first)
    if end is not None and end >= last:
        return (end + 1 - base) // width
    return None


def _block(pool: Network, block_size: int, index: int) -> Network:
    width = 1 << (pool.max_prefixlen - block_size)
    return type(pool)((int(pool.network_address) + index * width, block_size))


def block_around(address: Address, block_size: int) -> str:
    """The CIDR of the block of a size in which an address lies."""
    width = address.max_prefixlen - block_size
    start = type(address)(int(address) >> width << width)
    return f"{start}/{block_size}"


def _mixed(seed: int) -> int:
    """The finaliser of splitmix64."""
    value = (seed + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
