"""The plan: everything that one host's bird.conf says, as plain data between the planner and the emitter."""

from __future__ import annotations

from typing import Literal

import msgspec

from calico.bgp.filterplan import Family, FilterPlan

__all__ = [
    "AdvertisedPrefix",
    "BirdPlan",
    "BlockPlan",
    "Family",
    "NextHop",
    "PeerPlan",
    "PeerType",
    "PoolPlan",
    "name_of_peer",
]

PeerType = Literal["NodeMesh", "GlobalPeer", "NodePeer"]
NextHop = Literal["", "self", "keep"]

_NAME_PREFIX: dict[PeerType, str] = {"NodeMesh": "Mesh_", "GlobalPeer": "Global_", "NodePeer": "Node_"}


class PeerPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One BGP session. Times are whole seconds; None leaves BIRD's default. ``source`` None lets the kernel choose."""

    name: str
    type: PeerType
    family: Family
    address: str
    remote_as: int
    local_as: int
    port: int | None = None
    source: str | None = None
    passive: bool = False
    rr_cluster_id: str | None = None
    ttl_security_hops: int | None = None
    restart_time_s: int | None = None
    keepalive_time_s: int | None = None
    next_hop: NextHop = ""
    allowed_local_as: int | None = None
    filters: tuple[str, ...] = ()

    @property
    def internal(self) -> bool:
        """Both ends are in one autonomous system."""
        return self.remote_as == self.local_as


class PoolPlan(msgspec.Struct, frozen=True, order=True):
    """An IP pool: whether its routes go to peers, and whether BIRD puts them into the kernel.

    A disabled pool is advertised "by-block": only this host's own blocks in it, for the workloads it still has.
    """

    family: Family
    cidr: str
    advertise: Literal["always", "by-block", "never"]
    program: bool


class BlockPlan(msgspec.Struct, frozen=True, order=True):
    """A block of addresses that belongs to this host; advertised as one route."""

    family: Family
    cidr: str


class AdvertisedPrefix(msgspec.Struct, frozen=True, order=True):
    """A prefix whose routes carry communities, of two or three numbers each."""

    family: Family
    cidr: str
    communities: tuple[tuple[int, ...], ...]


class BirdPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One host's BIRD. ``withheld`` are prefixes that must not be advertised because what they need is unsupported."""

    router_id: str
    debug: Literal["none", "states", "all"] = "states"
    listen_port: int | None = None
    strict_bind: bool = False
    ignored_interfaces: tuple[str, ...] = ()
    peers: tuple[PeerPlan, ...] = ()
    pools: tuple[PoolPlan, ...] = ()
    blocks: tuple[BlockPlan, ...] = ()
    withheld: tuple[BlockPlan, ...] = ()
    advertised: tuple[AdvertisedPrefix, ...] = ()
    filters: tuple[FilterPlan, ...] = ()
    normal_priority_v4: int = 1024
    normal_priority_v6: int = 1024
    export_workload_routes: bool = False
    reflect_workload_routes: bool = False


def name_of_peer(kind: PeerType, address: str, port: int | None) -> str:
    """The protocol's name in BIRD, the one Calico's tools know; a mesh peer's port is not part of it."""
    name = _NAME_PREFIX[kind] + address.replace(".", "_").replace(":", "_")
    return f"{name}_port_{port}" if port and kind != "NodeMesh" else name
