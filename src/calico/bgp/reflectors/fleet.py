"""Which reflectors a cluster has, read off its resources alone; the names and labels by which ours are known. Pure.

A reflector of ours bears ``REFLECTOR_LABEL`` with its cluster id, and has that id in its Node. Each cluster has one
BGPPeer, which joins its clients and all reflectors to its reflectors. Everybody else's objects are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from calico.bgp.planning.birdplan import Family
from calico.bgp.planning.clusterconfig import resolve_config
from calico.bgp.planning.host import BGPHost, host_of_node
from calico.bgp.planning.peerannotations import BFD, INSTEAD_OF_MESH, IPV4_OVER_IPV6
from calico.bgp.planning.snapshot import BGPSnapshot
from calico.errors import InvalidInput
from calico.model.bgp import BGPConfiguration, BGPPeer, BGPPeerSpec
from calico.model.meta import Metadata
from calico.model.selector import Selector, parse

__all__ = ["DEFAULT_CLUSTER_ID", "REFLECTOR_LABEL", "Cluster", "Fleet", "peering_name", "peering_of", "read_fleet"]

REFLECTOR_LABEL = "bgp.calico-network/reflector"
DEFAULT_CLUSTER_ID = "244.0.0.1"
_PEERING_PREFIX = "route-reflectors-"
_AND_REFLECTORS = f" || has({REFLECTOR_LABEL})"
_EVERYBODY = "all()"


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster of reflectors. ``reflectors`` reflect; ``joined`` have its label but not, or no longer, its id.

    ``clients`` selects the nodes that are to peer with them.
    """

    cluster_id: str
    clients: Selector
    has_peering: bool = True
    reflectors: tuple[str, ...] = ()
    joined: tuple[str, ...] = ()

    @property
    def members(self) -> tuple[str, ...]:
        """The nodes with which its clients have sessions."""
        return tuple(sorted((*self.reflectors, *self.joined)))


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """The nodes that speak BGP and how they are joined. ``foreign`` are reflectors made by others, with cluster ids.

    ``taken`` are names of ours that somebody else's BGPPeers have; ``unreadable`` what could not be decoded.
    """

    hosts: Mapping[str, BGPHost]
    mesh: bool
    clusters: Mapping[str, Cluster] = {}
    foreign: Mapping[str, str] = {}
    taken: frozenset[str] = frozenset()
    unreadable: tuple[str, ...] = ()
    default: BGPConfiguration | None = None

    @property
    def members(self) -> dict[str, str]:
        """The nodes with our label, with their cluster ids."""
        return {name: cluster.cluster_id for cluster in self.clusters.values() for name in cluster.members}

    def clusters_of(self, host: str) -> tuple[Cluster, ...]:
        """The clusters whose members a host peers with: a reflector all, others those that select them."""
        every = host in self.members
        return tuple(c for c in self.clusters.values() if every or c.clients.matches(self.hosts[host].labels))

    def clients_of(self, cluster: Cluster) -> tuple[str, ...]:
        """The nodes that depend on a cluster's reflectors."""
        members = self.members
        return tuple(n for n, h in self.hosts.items() if n not in members and cluster.clients.matches(h.labels))

    def pairs(self, *, mesh: bool) -> Iterator[tuple[str, str]]:
        """The pairs of nodes that have sessions, each once; with those of the mesh or without."""
        names, members = sorted(self.hosts), self.members
        far = {name: {member for cluster in self.clusters_of(name) for member in cluster.members} for name in names}
        everybody = {name for name in names if name in members or not self.hosts[name].cluster_id}
        for index, one in enumerate(names):
            for other in names[index + 1 :]:
                meshed = mesh and one in everybody and other in everybody
                if meshed or other in far[one] or one in far[other]:
                    yield one, other

    def common(self, one: str, other: str) -> tuple[Family, ...]:
        """The families in which two nodes have a session."""
        mine, theirs = dict(self.hosts[one].addresses), dict(self.hosts[other].addresses)
        return tuple(family for family in mine if family in theirs)


def peering_name(cluster_id: str) -> str:
    """The BGPPeer of a cluster of ours."""
    return _PEERING_PREFIX + cluster_id


def peering_of(cluster_id: str, clients: str, default: BGPConfiguration | None) -> BGPPeer:
    """The BGPPeer that joins ``clients`` to the reflectors of a cluster.

    Its sessions take over the password, restart time and annotations of the mesh's, of which they take the place.
    """
    annotations = default.metadata.annotations if default is not None else {}
    copied = {name: annotations[name] for name in (BFD, IPV4_OVER_IPV6) if name in annotations}
    return BGPPeer(
        kind="BGPPeer",
        metadata=Metadata(name=peering_name(cluster_id), annotations={INSTEAD_OF_MESH: "true", **copied}),
        spec=BGPPeerSpec(
            node_selector=_EVERYBODY if clients == _EVERYBODY else f"({clients}){_AND_REFLECTORS}",
            peer_selector=f"{REFLECTOR_LABEL} == '{cluster_id}'",
            password=default.spec.node_mesh_password if default is not None else None,
            max_restart_time=default.spec.node_mesh_max_restart_time if default is not None else None,
        ),
    )


def read_fleet(snapshot: BGPSnapshot) -> Fleet:
    """The fleet; InvalidInput when the cluster's AS number is unusable, on which every session depends."""
    config = resolve_config(snapshot.configs, "", lambda _: None)
    hosts = {}
    for name, node in sorted(snapshot.nodes.items()):
        port = config.port_of(name)
        host = host_of_node(node, default_as=config.as_number, listen_port=port, report=lambda _: None)
        if host is not None and host.addresses:
            hosts[name] = host
    default = snapshot.configs.get("default")
    return Fleet(
        hosts=hosts,
        mesh=default is None or default.spec.node_to_node_mesh_enabled is not False,
        clusters=_clusters(hosts, snapshot.peers),
        foreign={n: h.cluster_id for n, h in hosts.items() if h.cluster_id and REFLECTOR_LABEL not in h.labels},
        taken=frozenset(n for n, p in snapshot.peers.items() if n.startswith(_PEERING_PREFIX) and not _is_ours(p)),
        unreadable=tuple(sorted(str(key) for key in snapshot.unreadable)),
        default=default,
    )


def _clusters(hosts: Mapping[str, BGPHost], peers: Mapping[str, BGPPeer]) -> dict[str, Cluster]:
    clients = {}
    for name, peer in peers.items():
        if _is_ours(peer):
            clients[name.removeprefix(_PEERING_PREFIX)] = _clients_of(peer)
    labelled: dict[str, list[BGPHost]] = {}
    for host in hosts.values():
        if cluster_id := host.labels.get(REFLECTOR_LABEL):
            labelled.setdefault(cluster_id, []).append(host)
    return {
        cluster_id: Cluster(
            cluster_id=cluster_id,
            clients=clients.get(cluster_id, parse("!all()")),
            has_peering=cluster_id in clients,
            reflectors=tuple(h.name for h in labelled.get(cluster_id, ()) if h.cluster_id == cluster_id),
            joined=tuple(h.name for h in labelled.get(cluster_id, ()) if h.cluster_id != cluster_id),
        )
        for cluster_id in sorted(clients.keys() | labelled.keys())
    }


def _is_ours(peer: BGPPeer) -> bool:
    name = peer.metadata.name
    return name.startswith(_PEERING_PREFIX) and peer.metadata.annotations.get(INSTEAD_OF_MESH) == "true"


def _clients_of(peer: BGPPeer) -> Selector:
    text = peer.spec.node_selector
    try:
        return parse(text.removesuffix(_AND_REFLECTORS) if text else _EVERYBODY)
    except InvalidInput:
        return parse("!all()")
