"""In which order a host looks for a block in a pool (spec §9.2). Pure."""

from __future__ import annotations

from collections.abc import Iterator

from calico.ipam.keys import Network

__all__ = ["block_of", "block_order", "host_seed"]

_FNV_OFFSET, _FNV_PRIME = 2166136261, 16777619
_MASK = (1 << 64) - 1


def host_seed(host: str) -> int:
    """FNV-1, 32 bits, of a host's name."""
    seed = _FNV_OFFSET
    for octet in host.encode():
        seed = (seed * _FNV_PRIME & 0xFFFFFFFF) ^ octet
    return seed


def block_order(pool: Network, block_size: int, seed: int) -> Iterator[Network]:
    """All blocks of a pool once: from a place that the seed decides to the end, then from the start.

    The seed is mixed first: the seeds of hosts numbered in a row lie in a row, and so would their blocks.
    """
    count = 1 << (block_size - pool.prefixlen) if block_size >= pool.prefixlen else 0
    if not count:
        return
    width = 1 << (pool.max_prefixlen - block_size)
    base = int(pool.network_address)
    start = _mixed(seed) % count
    kind = type(pool)
    for step in range(count):
        yield kind((base + (start + step) % count * width, block_size))


def block_of(pool: Network, block_size: int, address: int) -> Network:
    """The block of a pool in which an address lies."""
    width = pool.max_prefixlen - block_size
    return type(pool)((address >> width << width, block_size))


def _mixed(seed: int) -> int:
    """The finaliser of splitmix64."""
    value = (seed + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
