"""The plan: everything that one host's bird.conf says, as plain data between the planner and the emitter."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from calico.bgp.planning.filterplan import Family, FilterPlan
from calico.bgp.secret import Secret

__all__ = [
    "ANY_ON_LINK",
    "AdmissionPlan",
    "AdvertisedPrefix",
    "BfdPlan",
    "BirdPlan",
    "BlockPlan",
    "Family",
    "NextHop",
    "PeerPlan",
    "PeerType",
    "PoolPlan",
    "ReachPlan",
    "name_of_peer",
]

PeerType = Literal["NodeMesh", "GlobalPeer", "NodePeer", "LocalWorkload"]
NextHop = Literal["", "self", "keep"]

ANY_ON_LINK = "::"

_NAME_PREFIX: dict[PeerType, str] = {
    "NodeMesh": "Mesh_",
    "GlobalPeer": "Global_",
    "NodePeer": "Node_",
    "LocalWorkload": "Local_Workload_",
}


class BfdPlan(msgspec.Struct, frozen=True):
    """How a session's far end is watched: a packet every ``interval_ms``, gone after ``multiplier`` missing ones."""

    interval_ms: int
    multiplier: int


class BlockPlan(msgspec.Struct, frozen=True, order=True):
    """A block of addresses that belongs to this host; advertised as one route."""

    family: Family
    cidr: str


class AdmissionPlan(msgspec.Struct, frozen=True):
    """All that a client may tell: ``networks`` and single addresses in them, but for those that are ``refused``."""

    networks: tuple[BlockPlan, ...] = ()
    refused: tuple[BlockPlan, ...] = ()


class PeerPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One BGP session. Times are whole seconds; None leaves BIRD's default. ``source`` None lets the kernel choose.

    ``extended``: an IPv6 session that carries IPv4 routes, too, with IPv6 next hops (RFC 8950). ``direct``: the far end
    is on a link of this host, on that of ``interface`` if link-local. ``free_bind``: ``source`` may come up later.
    ``client``: the node that this reflector reflects to, unless it is a reflector itself, which tells others' routes;
    with an ``admission`` it is not believed all.
    """

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
    password: Secret | None = None
    extended: bool = False
    interface: str = ""
    direct: bool = False
    free_bind: bool = False
    bfd: BfdPlan | None = None
    max_prefixes: int | None = None
    client: str = ""
    admission: AdmissionPlan | None = None

    @property
    def families(self) -> tuple[Family, ...]:
        """Whose routes the session carries."""
        return (4, 6) if self.extended else (self.family,)

    @property
    def dynamic(self) -> bool:
        """Whoever opens a session from the link is the far end."""
        return self.address == ANY_ON_LINK

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


class ReachPlan(msgspec.Struct, frozen=True, order=True):
    """A route to a far end by a gateway."""

    family: Family
    address: str
    gateway: str


class AdvertisedPrefix(msgspec.Struct, frozen=True, order=True):
    """A prefix whose routes carry communities, of two or three numbers each."""

    family: Family
    cidr: str
    communities: tuple[tuple[int, ...], ...]


class BirdPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One host's BIRD. ``withheld`` are prefixes that must not be advertised because what they need is unsupported.

    ``services`` are prefixes of services that this host advertises as its own; nothing within ``service_ranges`` goes
    into the kernel, and a reflector passes on what lies in ``reflected_services``. Nor do routes by way of
    ``encrypted_next_hops``, which Felix programs. ``own_addresses``: this host's, as next hops. ``drained``: peers
    are to prefer other ways (RFC 8326).
    """

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
    reach: tuple[ReachPlan, ...] = ()
    services: tuple[BlockPlan, ...] = ()
    service_ranges: tuple[BlockPlan, ...] = ()
    reflected_services: tuple[BlockPlan, ...] = ()
    encrypted_next_hops: tuple[tuple[Family, str], ...] = ()
    own_addresses: tuple[tuple[Family, str], ...] = ()
    drained: bool = False


def name_of_peer(kind: PeerType, address: str, port: int | None, interface: str = "") -> str:
    """The protocol's name in BIRD, the one Calico's tools know; a mesh peer's port is not part of it."""
    end = "any" if address == ANY_ON_LINK else address.replace(".", "_").replace(":", "_")
    name = _NAME_PREFIX[kind] + end
    if interface:
        name += "_on_" + re.sub(r"[^A-Za-z0-9]", "_", interface)
    return f"{name}_port_{port}" if port and kind != "NodeMesh" else name
