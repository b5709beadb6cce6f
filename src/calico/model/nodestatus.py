"""CalicoNodeStatus: a person asks how BGP is on a host, and the BGP agent there fills in the answer (spec §16.19)."""

from __future__ import annotations

from msgspec import field

from calico.model.meta import Model, Resource

__all__ = [
    "BGPDaemonStatus",
    "CalicoNodeStatus",
    "CalicoNodeStatusSpec",
    "NodeAgentStatus",
    "NodeBGPStatus",
    "NodePeerStatus",
    "NodeRoute",
    "NodeRouteSource",
    "NodeRoutesStatus",
    "NodeStatusStatus",
]


class CalicoNodeStatusSpec(Model, frozen=True, kw_only=True):
    """What is asked: of which host, which parts of ``Agent``, ``BGP``, ``Routes``, and how often; 0 is once."""

    node: str = ""
    classes: tuple[str, ...] = ()
    update_period_seconds: int | None = None


class BGPDaemonStatus(Model, frozen=True, kw_only=True):
    """BIRD for one family. ``state`` is ``Ready`` or ``NotReady``; the times are as BIRD words them."""

    state: str = ""
    version: str = ""
    router_id: str = field(default="", name="routerID")
    last_boot_time: str = ""
    last_reconfiguration_time: str = ""


class NodeAgentStatus(Model, frozen=True, kw_only=True):
    """The class ``Agent``."""

    bird_v4: BGPDaemonStatus = field(default=BGPDaemonStatus(), name="birdV4")
    bird_v6: BGPDaemonStatus = field(default=BGPDaemonStatus(), name="birdV6")


class NodePeerStatus(Model, frozen=True, kw_only=True):
    """One session: ``type`` NodeMesh, NodePeer or GlobalPeer; ``state`` that of BGP (RFC 4271 8.2.2), or Close."""

    peer_ip: str = field(default="", name="peerIP")
    type: str = ""
    state: str = ""
    since: str = ""


class NodeBGPStatus(Model, frozen=True, kw_only=True):
    """The class ``BGP``."""

    number_established_v4: int = field(default=0, name="numberEstablishedV4")
    number_not_established_v4: int = field(default=0, name="numberNotEstablishedV4")
    number_established_v6: int = field(default=0, name="numberEstablishedV6")
    number_not_established_v6: int = field(default=0, name="numberNotEstablishedV6")
    peers_v4: tuple[NodePeerStatus, ...] = field(default=(), name="peersV4")
    peers_v6: tuple[NodePeerStatus, ...] = field(default=(), name="peersV6")


class NodeRouteSource(Model, frozen=True, kw_only=True):
    """Where BIRD has a route from: ``Kernel``, ``Static``, ``Direct``, ``NodeMesh`` or ``BGPPeer``."""

    source_type: str = ""
    peer_ip: str = field(default="", name="peerIP")


class NodeRoute(Model, frozen=True, kw_only=True):
    """One route of BIRD's; ``FIB`` when it is the one that counts for its destination, else ``RIB``."""

    type: str = ""
    destination: str = ""
    gateway: str = ""
    interface: str = ""
    learned_from: NodeRouteSource = NodeRouteSource()


class NodeRoutesStatus(Model, frozen=True, kw_only=True):
    """The class ``Routes``."""

    routes_v4: tuple[NodeRoute, ...] = field(default=(), name="routesV4")
    routes_v6: tuple[NodeRoute, ...] = field(default=(), name="routesV6")


class NodeStatusStatus(Model, frozen=True, kw_only=True):
    """The answer; parts that were not asked for stay empty. ``last_updated`` is RFC 3339, in UTC."""

    last_updated: str | None = None
    agent: NodeAgentStatus = NodeAgentStatus()
    bgp: NodeBGPStatus = NodeBGPStatus()
    routes: NodeRoutesStatus = NodeRoutesStatus()


class CalicoNodeStatus(Resource, frozen=True, kw_only=True):
    """A question about one host's BGP, and its answer."""

    spec: CalicoNodeStatusSpec = CalicoNodeStatusSpec()
    status: NodeStatusStatus = NodeStatusStatus()
