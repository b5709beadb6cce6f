"""How much of each pool and block is in use, and which addresses are borrowed. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import msgspec

from calico.ipam.audit.state import IPAMState
from calico.ipam.choice.pools import Pool, pool_of
from calico.ipam.stored.block import Block, address_at
from calico.ipam.stored.keys import Network, network

__all__ = ["Borrowed", "Usage", "borrowed", "usage_of_blocks", "usage_of_pools"]


class Usage(msgspec.Struct, frozen=True):
    """Addresses of a pool, or of a block: all of them, those given out, those that cool down; the rest is free."""

    grouping: str
    cidr: str
    total: int
    in_use: int
    cooling: int
    owner: str = ""
    name: str = ""

    @property
    def free(self) -> int:
        return self.total - self.in_use - self.cooling


class Borrowed(msgspec.Struct, frozen=True):
    """An address that a host has from a block that is not its own."""

    address: str
    node: str
    block: str
    owner: str
    kind: str
    held_by: str


def usage_of_pools(state: IPAMState) -> Iterator[tuple[Usage, tuple[Usage, ...]]]:
    """Each pool with its blocks; at the end, under an empty name, the blocks that lie in no pool."""
    left = dict(state.blocks)
    for pool in sorted(_pools(state), key=lambda pool: (pool.version, int(pool.network.network_address))):
        mine = [left.pop(cidr) for cidr in list(left) if _within(network(cidr), pool.network)]
        blocks = usage_of_blocks(mine)
        used, cooling = sum(block.in_use for block in blocks), sum(block.cooling for block in blocks)
        total = pool.network.num_addresses
        yield Usage("IP Pool", str(pool.network), total, used, cooling, name=pool.name), blocks
    if left:
        blocks = usage_of_blocks(list(left.values()))
        used, cooling = sum(block.in_use for block in blocks), sum(block.cooling for block in blocks)
        yield Usage("No Pool", "", sum(block.total for block in blocks), used, cooling), blocks


def usage_of_blocks(blocks: list[Block]) -> tuple[Usage, ...]:
    """In the order of their addresses."""
    ordered = sorted(blocks, key=lambda block: (block.network.version, int(block.network.network_address)))
    return tuple(_usage(block) for block in ordered)


def borrowed(state: IPAMState) -> Iterator[Borrowed]:
    """Addresses whose recorded host is not the owner of their block."""
    for block in state.blocks.values():
        owner = (block.affinity or "").removeprefix("host:")
        for ordinal, attribute in block.held():
            node = attribute.secondary.get("node", "")
            if node and node != owner:
                said = attribute.secondary
                pod = f"{said['namespace']}/{said['pod']}" if "pod" in said and "namespace" in said else ""
                kind = said.get("type", "pod" if pod else "")
                held_by = pod or attribute.handle or ""
                yield Borrowed(str(address_at(block, ordinal)), node, block.cidr, owner or "nobody", kind, held_by)


def _usage(block: Block) -> Usage:
    held = sum(1 for _ in block.held())
    taken = sum(1 for index in block.allocations if index is not None)
    return Usage("Block", block.cidr, len(block.allocations), held, taken - held, owner=block.affinity or "")


def _pools(state: IPAMState) -> Iterator[Pool]:
    for resource in state.pools:
        try:
            yield pool_of(resource)
        except ValueError:
            continue


def _within(inner: Network, outer: Network) -> bool:
    if isinstance(inner, ipaddress.IPv4Network):
        return isinstance(outer, ipaddress.IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, ipaddress.IPv6Network) and inner.subnet_of(outer)
