"""The sets of the whole cluster that no selector makes: networks of pools, addresses of hosts.

What several resources bring is counted. A set is told while something refers to it; the resources and endpoints that do
are counted, too.
"""

from __future__ import annotations

from collections.abc import Iterator

from calico.calc.messages import (
    ALL_HOSTS,
    IPAM_POOLS,
    IPIP_HOSTS,
    MASQ_POOLS,
    VXLAN_HOSTS,
    IPSetDelta,
    IPSetRemove,
    IPSetUpdate,
)
from calico.calc.net_cover import NetCover
from calico.calc.pools import ClusterNets
from calico.lib.ref_counts import RefCounts
from calico.model.keys import ResourceKey

__all__ = ["ClusterSets"]

_IDS = (ALL_HOSTS, IPAM_POOLS, MASQ_POOLS, VXLAN_HOSTS, IPIP_HOSTS)
"""Who refers to a set may refer to those before it: they come in this order and go in the opposite one."""


class ClusterSets:
    """Always true: a set covers exactly what the resources bring; it is needed iff somebody refers to it.

    Cost of every call is that of the change; ``updates`` and ``removes`` belong to one flush.
    """

    def __init__(self) -> None:
        self._nets: dict[ResourceKey, ClusterNets] = {}
        self._covers = {set_id: NetCover() for set_id in _IDS}
        self._refers: dict[ResourceKey, tuple[str, ...]] = {}
        self._needed: RefCounts[str] = RefCounts()
        self._told: set[str] = set()

    def on_nets(self, key: ResourceKey, nets: ClusterNets) -> None:
        """All that a resource brings now."""
        old = self._nets.pop(key, {})
        if nets:
            self._nets[key] = nets
        for set_id, present in nets.items():  # before what was is taken, so that what stays never leaves a set
            for net in present:
                self._covers[set_id].add(net)
        for set_id, gone in old.items():
            for net in gone:
                self._covers[set_id].remove(net)

    def refer(self, key: ResourceKey, set_ids: tuple[str, ...]) -> None:
        """All the sets that a resource or endpoint needs now."""
        old = self._refers.pop(key, ())
        if set_ids:
            self._refers[key] = set_ids
        for set_id in set_ids:
            self._needed.acquire(set_id)
        for set_id in old:
            self._needed.release(set_id)

    def updates(self) -> Iterator[IPSetUpdate | IPSetDelta]:
        """Sets that are needed and not told yet, and changes of those that are."""
        for set_id in _IDS:
            cover = self._covers[set_id]
            added, removed = cover.delta.take()
            if set_id not in self._needed:
                continue
            if set_id not in self._told:
                self._told.add(set_id)
                yield IPSetUpdate(id=set_id, kind="nets", members=cover.members())
            elif added or removed:
                yield IPSetDelta(id=set_id, added=added, removed=removed)

    def removes(self) -> Iterator[IPSetRemove]:
        """Sets that were told and are needed no more."""
        for set_id in reversed(_IDS):
            if set_id in self._told and set_id not in self._needed:
                self._told.discard(set_id)
                yield IPSetRemove(id=set_id)
