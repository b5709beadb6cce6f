"""Blocks that a host keeps of pools which no longer select it: empty ones it gives up (spec §9.2). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from calico.errors import InvalidInput
from calico.ipam.choice.pools import pool_around
from calico.ipam.stored.keys import network
from calico.model.ippool import IPPool
from calico.model.selector import parse

__all__ = ["unselected_blocks"]


def unselected_blocks(cidrs: Iterable[str], pools: Sequence[IPPool], node_labels: Mapping[str, str]) -> tuple[str, ...]:
    """Those whose pool is there and does not select a node of these labels. A selector that cannot be read keeps
    everything as it is; a pool that is gone takes its blocks along by itself."""
    found = []
    for cidr in cidrs:
        _, pool = pool_around(pools, network(cidr).network_address)
        if pool is not None and not _selects(pool, node_labels):
            found.append(cidr)
    return tuple(found)


def _selects(pool: IPPool, node_labels: Mapping[str, str]) -> bool:
    try:
        return parse(pool.spec.node_selector or "all()").matches(node_labels)
    except InvalidInput:
        return True
