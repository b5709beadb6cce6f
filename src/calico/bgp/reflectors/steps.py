"""The ordered steps of every move between mesh and reflectors, derived from what the datastore says now. Pure.

A step that is done is no longer derived, so a move that was interrupted goes on by asking again. The order keeps every
route: reflectors join before they reflect, the mesh ends last, and on the way back everything goes in reverse.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from calico.bgp.planning.peerannotations import INSTEAD_OF_MESH
from calico.bgp.reflectors.fleet import Fleet, peering_name
from calico.errors import InvalidInput, NotFound
from calico.model.selector import parse

__all__ = ["Step", "Wanted", "steps_to_add", "steps_to_mesh", "steps_to_reflectors", "steps_to_remove"]

StepKind = Literal[
    "create-peering", "join", "reflect", "mesh-off", "mesh-on", "stop-reflecting", "leave", "delete-peering"
]
_FREE = "nothing: no session changes"
_SOFT = "sessions that go; no others are touched, and routes have another way already"
_RESTART = "one graceful restart of BIRD there, and of each other reflector of its cluster: routes stay"
_COMMAND = "calico node rr"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Reflectors that are to be: which nodes, in which cluster, for which clients (None: as it is, else all)."""

    nodes: tuple[str, ...]
    cluster_id: str
    clients: str | None = None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One write, with what it does, what it costs, and how it is undone. ``node`` is empty where none is concerned."""

    kind: StepKind
    node: str = ""
    cluster_id: str = ""
    clients: str = ""
    what: str
    cost: str
    undo: str

    @property
    def changes_sessions(self) -> bool:
        """Whether hosts do anything on it: a BGPPeer whose cluster has no nodes asks nothing of them."""
        return self.kind not in ("create-peering", "delete-peering")


def steps_to_add(fleet: Fleet, wanted: Wanted) -> list[Step]:
    """Make nodes reflectors, one after the other. NotFound or InvalidInput name what forbids it."""
    _check_readable(fleet)
    _check_cluster(fleet, wanted)
    for name in wanted.nodes:
        _check_candidate(fleet, name, wanted.cluster_id)
    clients = wanted.clients or "all()"
    _check_clients(fleet, wanted, clients)
    cluster = fleet.clusters.get(wanted.cluster_id)
    steps = []
    if cluster is None or not cluster.has_peering:
        steps.append(_create_peering(wanted.cluster_id, clients))
    for name in sorted(dict.fromkeys(wanted.nodes)):
        if fleet.members.get(name) is None:
            steps.append(_join(name, wanted.cluster_id))
        if cluster is None or name not in cluster.reflectors:
            steps.append(_reflect(name, wanted.cluster_id))
    return steps


def steps_to_reflectors(fleet: Fleet, *, alone: bool = False) -> list[Step]:
    """Whatever is left to be done until the mesh is off. InvalidInput when some node would have no reflectors.

    ``alone``: one reflector a cluster is enough.
    """
    _check_readable(fleet)
    steps = [
        _reflect(name, cluster.cluster_id) for cluster in fleet.clusters.values() for name in sorted(cluster.joined)
    ]
    if not fleet.mesh:
        return steps
    _check_covered(fleet, 1 if alone else 2)
    what = "end the mesh (BGPConfiguration default, spec.nodeToNodeMeshEnabled: false)"
    return [*steps, Step(kind="mesh-off", what=what, cost=_SOFT, undo=f"{_COMMAND} migrate --to mesh")]


def steps_to_remove(fleet: Fleet, nodes: Iterable[str]) -> list[Step]:
    """Let nodes be reflectors no longer, one after the other. InvalidInput when clients would be left without."""
    _check_readable(fleet)
    wanted = sorted(dict.fromkeys(nodes))
    members = fleet.members
    for name in wanted:
        if name in fleet.foreign:
            raise InvalidInput("was made a reflector by somebody else", subject=f"Node {name}", field=_CLUSTER_FIELD)
        if name not in fleet.hosts:
            raise NotFound(f"Node {name} does not exist or does not speak BGP; `{_COMMAND} show` names the reflectors")
    if not fleet.mesh:
        _check_left(fleet, set(wanted))
    steps = []
    for name in (name for name in wanted if name in members):
        cluster = fleet.clusters[members[name]]
        if name in cluster.reflectors:
            steps.append(_stop_reflecting(name, cluster.cluster_id))
        steps.append(_leave(name, cluster.cluster_id))
    empty = (c.cluster_id for c in fleet.clusters.values() if c.has_peering and not set(c.members) - set(wanted))
    return [*steps, *(_delete_peering(fleet, each) for each in empty)]


def steps_to_mesh(fleet: Fleet) -> list[Step]:
    """Back to the mesh: all that was done for reflectors, in reverse."""
    _check_readable(fleet)
    steps = []
    if not fleet.mesh:
        what = "start the mesh (BGPConfiguration default, spec.nodeToNodeMeshEnabled: true)"
        cost = "a session between every two nodes; those there are stay"
        steps.append(Step(kind="mesh-on", what=what, cost=cost, undo=f"{_COMMAND} migrate --yes"))
    as_if = msgspec.structs.replace(fleet, mesh=True)
    return [*steps, *steps_to_remove(as_if, fleet.members)]


# ---- single steps

_CLUSTER_FIELD = "spec.bgp.routeReflectorClusterID"


def _create_peering(cluster_id: str, clients: str) -> Step:
    what = f"create BGPPeer {peering_name(cluster_id)} for the clients {clients}"
    undo = f"calico delete bgppeer {peering_name(cluster_id)}"
    return Step(kind="create-peering", cluster_id=cluster_id, clients=clients, what=what, cost=_FREE, undo=undo)


def _delete_peering(fleet: Fleet, cluster_id: str) -> Step:
    clients = fleet.clusters[cluster_id].clients.canonical
    undo = f"{_COMMAND} add NODE... --cluster-id {cluster_id} --clients {clients!r}"
    what = f"delete BGPPeer {peering_name(cluster_id)}"
    return Step(kind="delete-peering", cluster_id=cluster_id, what=what, cost=_FREE, undo=undo)


def _join(name: str, cluster_id: str) -> Step:
    cost = "sessions with its clients that are not there yet; those of the mesh stay as they are"
    what = f"join {name} to its clients by label"
    return Step(kind="join", node=name, cluster_id=cluster_id, what=what, cost=cost, undo=_removal(name))


def _reflect(name: str, cluster_id: str) -> Step:
    what = f"let {name} reflect in cluster {cluster_id}"
    return Step(kind="reflect", node=name, cluster_id=cluster_id, what=what, cost=_RESTART, undo=_removal(name))


def _stop_reflecting(name: str, cluster_id: str) -> Step:
    undo = f"{_COMMAND} add {name} --cluster-id {cluster_id}"
    what = f"let {name} reflect no longer"
    return Step(kind="stop-reflecting", node=name, cluster_id=cluster_id, what=what, cost=_RESTART, undo=undo)


def _leave(name: str, cluster_id: str) -> Step:
    undo = f"{_COMMAND} add {name} --cluster-id {cluster_id}"
    what = f"part {name} from its clients"
    return Step(kind="leave", node=name, cluster_id=cluster_id, what=what, cost=_SOFT, undo=undo)


def _removal(name: str) -> str:
    return f"{_COMMAND} remove {name}"


# ---- what forbids steps


def _check_readable(fleet: Fleet) -> None:
    if fleet.unreadable:
        raise InvalidInput("cannot be read, so nothing is changed", subject=", ".join(fleet.unreadable[:5]))


def _check_cluster(fleet: Fleet, wanted: Wanted) -> None:
    try:
        good = str(ipaddress.IPv4Address(wanted.cluster_id)) == wanted.cluster_id and wanted.cluster_id != "0.0.0.0"
    except ValueError:
        good = False
    if not good:
        raise InvalidInput(f"{wanted.cluster_id[:60]!r} is no cluster id in IPv4 form", field="--cluster-id")
    name = peering_name(wanted.cluster_id)
    if name in fleet.taken:
        message = f"is there without the annotation {INSTEAD_OF_MESH}; rename it or choose another cluster id"
        raise InvalidInput(message, subject=f"BGPPeer {name}")
    for node, cluster_id in fleet.foreign.items():
        if cluster_id == wanted.cluster_id:
            message = f"has the cluster id {cluster_id} by somebody else; choose another"
            raise InvalidInput(message, subject=f"Node {node}", field=_CLUSTER_FIELD)


def _check_candidate(fleet: Fleet, name: str, cluster_id: str) -> None:
    subject = f"Node {name}"
    if name not in fleet.hosts:
        raise NotFound(f"{subject} does not exist, or has no usable spec.bgp with an address")
    if name in fleet.foreign:
        message = f"is a reflector of cluster {fleet.foreign[name]} by somebody else; clear it first"
        raise InvalidInput(message, subject=subject, field=_CLUSTER_FIELD)
    other = fleet.members.get(name, cluster_id)
    if other != cluster_id:
        raise InvalidInput(f"is a reflector of cluster {other}; remove it there first", subject=subject)


def _check_clients(fleet: Fleet, wanted: Wanted, clients: str) -> None:
    try:
        selector = parse(clients)
    except InvalidInput as error:
        raise InvalidInput(error.message, field="--clients") from None
    cluster = fleet.clusters.get(wanted.cluster_id)
    if cluster is not None and cluster.has_peering:
        if wanted.clients is not None and cluster.clients.canonical != selector.canonical:
            message = f"has the clients {cluster.clients.canonical}, not {selector.canonical}"
            raise InvalidInput(message, subject=f"BGPPeer {peering_name(wanted.cluster_id)}", field="spec.nodeSelector")
        selector = cluster.clients
    served = [name for name, host in fleet.hosts.items() if selector.matches(host.labels)]
    if not served:
        raise InvalidInput(f"{clients!r} selects no node that speaks BGP", field="--clients")
    for name in wanted.nodes:
        mine = fleet.hosts[name]
        for other in served:
            theirs = fleet.hosts[other].as_number
            if theirs != mine.as_number:
                message = f"is in AS {theirs} and {name} in AS {mine.as_number}: routes are reflected within one AS"
                raise InvalidInput(message, subject=f"Node {other}", field="spec.bgp.asNumber")


def _check_covered(fleet: Fleet, least: int) -> None:
    if not fleet.members:
        raise InvalidInput(f"there are no reflectors yet; `{_COMMAND} add NODE...` makes some")
    for cluster in fleet.clusters.values():
        if not cluster.has_peering:
            again = f"{_COMMAND} add {' '.join(cluster.members)} --cluster-id {cluster.cluster_id}"
            message = f"is absent; `{again}` makes it"
            raise InvalidInput(message, subject=f"BGPPeer {peering_name(cluster.cluster_id)}")
        if len(cluster.members) < least:
            message = f"has {len(cluster.members)} reflectors; two are safe, and --alone goes on with one"
            raise InvalidInput(message, subject=f"cluster {cluster.cluster_id}")
    for name in _uncovered(fleet, frozenset()):
        raise InvalidInput("no cluster's clients include it: it would be cut off", subject=f"Node {name}")


def _check_left(fleet: Fleet, gone: set[str]) -> None:
    for name in _uncovered(fleet, frozenset(gone)):
        message = f"would have no reflector and there is no mesh; `{_COMMAND} migrate --to mesh`, or add others first"
        raise InvalidInput(message, subject=f"Node {name}")


def _uncovered(fleet: Fleet, gone: frozenset[str]) -> Iterator[str]:
    """Nodes without a reflector, were these no longer there."""
    kept = fleet.members.keys() - gone
    for name, host in fleet.hosts.items():
        serving = (c for c in fleet.clusters.values() if c.has_peering and c.clients.matches(host.labels))
        if name not in kept and name not in fleet.foreign and not any(set(c.members) - gone for c in serving):
            yield name
