"""Where other hosts' parts of pools with a tunnel are: block by block, and address by address where a workload or a
tunnel's end is outside the blocks of its host.

Nothing within such a pool may take a route that was not meant for it: the pool itself, and whatever is on a host that
has no end of the tunnel, is unreachable. Cost of a change is the number of networks it concerns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from calico.calc.encap import VERSIONS, HostEnd, PoolEncap, Version
from calico.calc.messages import IpipUpdate, RouteUpdate, VtepUpdate
from calico.calc.net_cover import masked
from calico.calc.whereabouts import Nets, Whereabouts
from calico.lib import packed
from calico.lib.ref_counts import RefCounts
from calico.model.keys import ResourceKey

__all__ = ["TunnelRoutes"]

_NO_ENDS: Mapping[Version, HostEnd] = {}
_NO_END = HostEnd()


class TunnelRoutes:
    """Always true: what ``take`` has given so far, the last for each key, is what follows from what was told.

    ``vxlan`` False: no tunnel whatever pools say; True: also without a pool; None: as pools say.
    ``ipip`` False: no IP in IP whatever pools say. Addresses of endpoints are only wanted, and kept, while ``active``.
    """

    def __init__(self, hostname: str, vxlan: bool | None, *, ipip: bool = True) -> None:
        self._hostname = hostname
        self._vxlan = vxlan
        self._allows_ipip = ipip
        self._pools: dict[ResourceKey, tuple[bytes, PoolEncap | None]] = {}
        self._pools_at: dict[bytes, set[ResourceKey]] = {}
        self._pool_nets = Nets()
        self._tunnels: RefCounts[tuple[Version, str]] = RefCounts()  # kinds that pools ask for
        self._ends: dict[str, Mapping[Version, HostEnd]] = {}
        self._places = Whereabouts(hostname)
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
            self._dirty.update(self._places.of(name))
        self._dirty.update(
            self._places.hold(key, tuple(packed.net_of_host(a) for end in ends.values() for a in end.inner))
        )

    def on_block(self, net: bytes, node: str, present: bool) -> None:
        """A block is a host's, or is not."""
        self._dirty.update(self._places.on_block(net, node, present))

    def on_endpoint(self, key: ResourceKey, nets: tuple[bytes, ...]) -> None:
        """The addresses (as nets) of an endpoint anywhere; none: it is gone."""
        self._dirty.update(self._places.hold(key, nets))

    def forget_endpoints(self) -> None:
        """No pool has a tunnel any more."""
        for key in [key for key in self._places.holders() if key.kind != "Node"]:
            self._dirty.update(self._places.hold(key, ()))

    def take_vteps(self) -> Iterator[tuple[tuple[str, Version], VtepUpdate | None]]:
        """Ends of tunnels that may have changed, by (node, version); None: there is none."""
        ends, self._dirty_ends = self._dirty_ends, set()
        for node in ends:
            for version in VERSIONS:
                yield (node, version), self._vtep(node, version)

    @property
    def ipip(self) -> IpipUpdate | None:
        """This host's end of IP in IP, while a pool has it."""
        own = self._ends.get(self._hostname, _NO_ENDS).get(4, _NO_END)
        if not (self._allows_ipip and own.address and own.ipip and (4, "ipip") in self._tunnels):
            return None
        return IpipUpdate(address=own.ipip, parent=own.address)

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
        node = self._places.owner(dst)
        if node is None or node == self._hostname:
            return RouteUpdate(dst=dst, kind="unreachable") if dst == pool else None
        if not self._places.is_block(dst) and dst != pool:
            block = self._places.block_around(dst)
            if block is not None and self._places.owner(block) == node:
                return None  # the way of its block is its way
        return self._towards(dst, node, encap)

    def _towards(self, dst: bytes, node: str, encap: PoolEncap) -> RouteUpdate:
        version: Version = 6 if packed.is_v6(dst) else 4
        end = self._ends.get(node, _NO_ENDS).get(version, _NO_END)
        own = self._ends.get(self._hostname, _NO_ENDS).get(version, _NO_END)
        if encap.cross_subnet and end.address and own.subnet and _within(end.address, own.subnet):
            return RouteUpdate(dst=dst, kind="direct", node=node, gateway=end.address, local=own.address)
        if encap.kind == "ipip" and version == 4 and end.address and self.ipip is not None:
            return RouteUpdate(dst=dst, kind="ipip", node=node, gateway=end.address)
        if encap.kind == "vxlan" and self._vtep(node, version) and self._vtep(self._hostname, version):
            return RouteUpdate(dst=dst, kind="vxlan", node=node, gateway=end.tunnel)
        return RouteUpdate(dst=dst, kind="unreachable", node=node)

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

    def _mark_inside(self, net: bytes) -> None:
        """A network and all that is known within it."""
        self._dirty.add(net)
        self._dirty.update(self._places.inside(net))

    def _mark_version(self, version: Version) -> None:
        for net in (*self._places.known(), *self._pools_at):
            if _version(net) == version:
                self._dirty.add(net)


def _version(net: bytes) -> Version:
    return 6 if packed.is_v6(net) else 4


def _within(address: bytes, net: bytes) -> bool:
    return len(address) == len(net) - 1 and masked(packed.net_of_host(address), net[-1]) == net
