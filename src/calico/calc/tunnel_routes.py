"""Where other hosts' parts of pools with a tunnel are: block by block, and address by address where a workload or a
tunnel's end is outside the blocks of its host.

Nothing within such a pool may take a route that was not meant for it: the pool itself, and whatever is on a host that
has no end of the tunnel, is unreachable. Cost of a change is the number of networks it concerns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from calico.calc.encap import VERSIONS, HostEnd, PoolEncap, Version
from calico.calc.endpoints import node_of
from calico.calc.messages import RouteUpdate, VtepUpdate
from calico.calc.net_cover import last_of, masked
from calico.lib import packed
from calico.lib.ref_counts import RefCounts
from calico.lib.sorted_list import SortedList
from calico.model.keys import ResourceKey

__all__ = ["TunnelRoutes"]

_NO_ENDS: Mapping[Version, HostEnd] = {}
_NO_END = HostEnd()


class _Nets:
    """Networks, and which is the smallest around another. Cost is that of the number of different lengths."""

    def __init__(self) -> None:
        self._nets: RefCounts[bytes] = RefCounts()
        self._lengths: dict[int, RefCounts[int]] = {5: RefCounts(), 17: RefCounts()}

    def __contains__(self, net: bytes) -> bool:
        return net in self._nets

    def add(self, net: bytes) -> None:
        if self._nets.acquire(net):
            self._lengths[len(net)].acquire(net[-1])

    def remove(self, net: bytes) -> None:
        if self._nets.release(net):
            self._lengths[len(net)].release(net[-1])

    def around(self, net: bytes) -> bytes | None:
        """The smallest that holds all of ``net``, which may be itself."""
        for length in sorted(self._lengths[len(net)], reverse=True):
            if length <= net[-1] and masked(net, length) in self._nets:
                return masked(net, length)
        return None


class TunnelRoutes:
    """Always true: what ``take`` has given so far, the last for each key, is what follows from what was told.

    ``vxlan`` False: no tunnel whatever pools say; True: also without a pool; None: as pools say. Addresses of endpoints
    are only wanted, and kept, while ``active``.
    """

    def __init__(self, hostname: str, vxlan: bool | None) -> None:
        self._hostname = hostname
        self._vxlan = vxlan
        self._pools: dict[ResourceKey, tuple[bytes, PoolEncap | None]] = {}
        self._pools_at: dict[bytes, set[ResourceKey]] = {}
        self._pool_nets = _Nets()
        self._tunnels: RefCounts[tuple[Version, str]] = RefCounts()  # kinds that pools ask for
        self._ends: dict[str, Mapping[Version, HostEnd]] = {}
        self._blocks: dict[bytes, set[str]] = {}
        self._block_nets = _Nets()
        self._holders: dict[bytes, tuple[ResourceKey, ...]] = {}
        self._nets: dict[ResourceKey, tuple[bytes, ...]] = {}
        self._of: dict[str, RefCounts[bytes]] = {}
        self._known: RefCounts[bytes] = RefCounts()
        self._ordered: dict[int, SortedList] = {5: SortedList(), 17: SortedList()}
        self._dirty: set[bytes] = set()
        self._dirty_ends: set[str] = set()

    @property
    def active(self) -> bool:
        """Whether a pool has a tunnel."""
        return len(self._tunnels) > 0

    def on_pool(self, key: ResourceKey, pool: tuple[bytes, PoolEncap | None] | None) -> None:
        """A pool's network and tunnel; None: there is no such pool."""
        old = self._pools.pop(key, None)
        if pool is not None:
            self._pools[key] = pool
        if old == pool:
            return
        if pool is not None:
            self._add_pool(key, *pool)
        if old is not None:
            self._remove_pool(key, *old, stays=pool is not None and pool[0] == old[0])
        for net in {found[0] for found in (old, pool) if found is not None}:
            self._mark_inside(net)

    def on_node(self, key: ResourceKey, ends: Mapping[Version, HostEnd]) -> None:
        """A node's ends; empty: there is no such node, or it says nothing of use."""
        name = key.name
        old = self._ends.pop(name, _NO_ENDS)
        if ends:
            self._ends[name] = ends
        if ends == old:
            return
        self._dirty_ends.add(name)
        if name == self._hostname:
            for version in VERSIONS:
                if ends.get(version) != old.get(version):
                    self._mark_version(version)
        else:
            self._dirty.update(self._of.get(name, ()))
        self._hold(key, tuple(packed.net_of_host(end.tunnel) for end in ends.values() if end.tunnel))

    def on_block(self, net: bytes, node: str, present: bool) -> None:
        """A block is a host's, or is not."""
        owners = self._blocks.get(net, set())
        if present and node not in owners:
            self._blocks.setdefault(net, set()).add(node)
            self._block_nets.add(net)
            self._claim(net, node)
            self._mark_inside(net)
        elif not present and node in owners:
            self._mark_inside(net)
            self._unclaim(net, node)
            self._block_nets.remove(net)
            owners.discard(node)
            if not owners:
                del self._blocks[net]

    def on_endpoint(self, key: ResourceKey, nets: tuple[bytes, ...]) -> None:
        """The addresses (as nets) of an endpoint anywhere; none: it is gone."""
        self._hold(key, nets)

    def forget_endpoints(self) -> None:
        """No pool has a tunnel any more."""
        for key in [key for key in self._nets if key.kind != "Node"]:
            self._hold(key, ())

    def take_vteps(self) -> Iterator[tuple[tuple[str, Version], VtepUpdate | None]]:
        """Ends of tunnels that may have changed, by (node, version); None: there is none."""
        ends, self._dirty_ends = self._dirty_ends, set()
        for node in ends:
            for version in VERSIONS:
                yield (node, version), self._vtep(node, version)

    def take_routes(self) -> Iterator[tuple[bytes, RouteUpdate | None]]:
        """Routes that may have changed, by destination; None: there is none."""
        dirty, self._dirty = self._dirty, set()
        for dst in dirty:
            yield dst, self._route(dst)

    # -- what follows from what was told -----------------------------------------------------------------------------

    def _vtep(self, node: str, version: Version) -> VtepUpdate | None:
        end = self._ends.get(node, _NO_ENDS).get(version)
        if end is None or not (end.address and end.tunnel and self._has_vxlan(version)):
            return None
        return VtepUpdate(node=node, version=version, address=end.tunnel, mac=end.mac, parent=end.address)

    def _route(self, dst: bytes) -> RouteUpdate | None:
        pool = self._pool_nets.around(dst)
        encap = self._pools[min(self._pools_at[pool])][1] if pool is not None else None
        if encap is None:
            return None
        node = self._owner(dst)
        if node is None or node == self._hostname:
            return RouteUpdate(dst=dst, kind="unreachable") if dst == pool else None
        if dst not in self._blocks and dst != pool:
            block = self._block_nets.around(dst)
            if block is not None and self._owner(block) == node:
                return None  # the way of its block is its way
        return self._towards(dst, node, encap)

    def _towards(self, dst: bytes, node: str, encap: PoolEncap) -> RouteUpdate:
        version: Version = 6 if packed.is_v6(dst) else 4
        end = self._ends.get(node, _NO_ENDS).get(version, _NO_END)
        own = self._ends.get(self._hostname, _NO_ENDS).get(version, _NO_END)
        if encap.cross_subnet and end.address and own.subnet and _within(end.address, own.subnet):
            return RouteUpdate(dst=dst, kind="direct", node=node, gateway=end.address, local=own.address)
        if encap.kind == "ipip" and end.address:
            return RouteUpdate(dst=dst, kind="ipip", node=node, gateway=end.address)
        if encap.kind == "vxlan" and self._vtep(node, version) and self._vtep(self._hostname, version):
            return RouteUpdate(dst=dst, kind="vxlan", node=node, gateway=end.tunnel)
        return RouteUpdate(dst=dst, kind="unreachable", node=node)

    def _owner(self, net: bytes) -> str | None:
        """Who has a network: who holds the address, else whose block it is; this host first, then by name."""
        nodes = [_node(key) for key in self._holders.get(net, ())] or sorted(self._blocks.get(net, ()))
        return self._hostname if self._hostname in nodes else nodes[0] if nodes else None

    def _has_vxlan(self, version: Version) -> bool:
        return (version, "vxlan") in self._tunnels if self._vxlan is None else self._vxlan

    # -- bookkeeping -------------------------------------------------------------------------------------------------

    def _add_pool(self, key: ResourceKey, net: bytes, encap: PoolEncap | None) -> None:
        self._pool_nets.add(net)
        self._pools_at.setdefault(net, set()).add(key)
        if encap is not None and self._tunnels.acquire((_version(net), encap.kind)):
            self._dirty_ends.update(self._ends)

    def _remove_pool(self, key: ResourceKey, net: bytes, encap: PoolEncap | None, *, stays: bool) -> None:
        self._pool_nets.remove(net)
        if not stays:
            self._pools_at[net].discard(key)
            if not self._pools_at[net]:
                del self._pools_at[net]
        if encap is not None and self._tunnels.release((_version(net), encap.kind)):
            self._dirty_ends.update(self._ends)

    def _hold(self, key: ResourceKey, nets: tuple[bytes, ...]) -> None:
        old = self._nets.pop(key, ())
        if nets:
            self._nets[key] = nets
        node = _node(key)
        for net in set(nets) - set(old):
            self._holders[net] = tuple(sorted((*self._holders.get(net, ()), key), key=_precedence))
            self._claim(net, node)
        for net in set(old) - set(nets):
            left = tuple(holder for holder in self._holders.pop(net) if holder != key)
            if left:
                self._holders[net] = left
            self._unclaim(net, node)

    def _claim(self, net: bytes, node: str) -> None:
        self._dirty.add(net)
        self._of.setdefault(node, RefCounts()).acquire(net)
        if self._known.acquire(net):
            self._ordered[len(net)].add(net)

    def _unclaim(self, net: bytes, node: str) -> None:
        self._dirty.add(net)
        if self._of[node].release(net) and not len(self._of[node]):
            del self._of[node]
        if self._known.release(net):
            self._ordered[len(net)].remove(net)

    def _mark_inside(self, net: bytes) -> None:
        """A network and all that is known within it."""
        self._dirty.add(net)
        ordered, end = self._ordered[len(net)], last_of(net)
        inner = ordered.first_after(net)
        while inner is not None and inner < end:
            self._dirty.add(inner)
            inner = ordered.first_after(inner)

    def _mark_version(self, version: Version) -> None:
        for net in (*self._known, *self._pools_at):
            if _version(net) == version:
                self._dirty.add(net)


def _precedence(holder: ResourceKey) -> tuple[bool, ResourceKey]:
    """Who has an address that several say they have: a workload before a tunnel's end, then by key."""
    return holder.kind == "Node", holder


def _node(key: ResourceKey) -> str:
    return key.name if key.kind == "Node" else node_of(key)


def _version(net: bytes) -> Version:
    return 6 if packed.is_v6(net) else 4


def _within(address: bytes, net: bytes) -> bool:
    return len(address) == len(net) - 1 and masked(packed.net_of_host(address), net[-1]) == net
