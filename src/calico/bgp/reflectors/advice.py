"""Whether a cluster's mesh is too big, what reflectors would cost instead, and which nodes could be some. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

import msgspec

from calico.bgp.reflectors.figures import MESH_COMFORTABLE, MESH_MOST, Cost, mesh_cost, reflector_cost
from calico.bgp.reflectors.fleet import DEFAULT_CLUSTER_ID, Fleet
from calico.bgp.reflectors.steps import Wanted

__all__ = ["Advice", "advise"]

_REFLECTORS = 2
_NAMED_AT_MOST = 5


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """``mesh`` and ``reflectors`` are the alternatives, per address family; ``runs`` says what there is.

    ``proposal`` are clusters that serve every node; ``why`` gives reasons and remarks as sentences.
    """

    nodes: int
    families: int
    racks: int
    runs: str
    recommended: str
    mesh: Cost
    reflectors: Cost
    proposal: tuple[Wanted, ...]
    why: tuple[str, ...]


def advise(fleet: Fleet, *, rack_label: str = "", per_rack: bool = False, nodes: int | None = None) -> Advice:
    """Advice for the fleet, or for one of so many ``nodes``. With ``rack_label`` reflectors are in different racks;
    ``per_rack`` makes a cluster of each rack."""
    count = len(fleet.hosts) if nodes is None else nodes
    racks = _racks(fleet, rack_label)
    proposal = _existing(fleet) or _proposal(fleet, racks, rack_label, per_rack=per_rack)
    sizes = [count] if not per_rack or not rack_label else [len(names) for names in racks.values()]
    if nodes is not None and per_rack and racks:
        sizes = [nodes // len(racks)] * len(racks)
    reflectors = min(_REFLECTORS, max(count, 1))
    clients = [max(0, size - reflectors) for size in sizes]
    recommended = "mesh" if count <= MESH_MOST else "reflectors"
    return Advice(
        nodes=count,
        families=max((len(host.addresses) for host in fleet.hosts.values()), default=1),
        racks=len(racks) if rack_label else 0,
        runs=_runs(fleet),
        recommended=recommended,
        mesh=mesh_cost(count),
        reflectors=reflector_cost(clients, reflectors),
        proposal=proposal,
        why=tuple(_reasons(fleet, count, rack_label, proposal)),
    )


def _runs(fleet: Fleet) -> str:
    reflecting = any(cluster.reflectors for cluster in fleet.clusters.values())
    if fleet.mesh:
        return "mesh and reflectors" if reflecting else "mesh"
    return "reflectors" if reflecting else "neither mesh nor reflectors of ours"


def _racks(fleet: Fleet, label: str) -> dict[str, list[str]]:
    racks: dict[str, list[str]] = {}
    for name, host in sorted(fleet.hosts.items()):
        racks.setdefault(host.labels.get(label, "") if label else "", []).append(name)
    return dict(sorted(racks.items()))


def _existing(fleet: Fleet) -> tuple[Wanted, ...]:
    return tuple(
        Wanted(nodes=cluster.members, cluster_id=cluster.cluster_id, clients=cluster.clients.canonical)
        for cluster in fleet.clusters.values()
        if cluster.members
    )


def _proposal(fleet: Fleet, racks: dict[str, list[str]], label: str, *, per_rack: bool) -> tuple[Wanted, ...]:
    """The nodes with the first names; of one cluster they are in different racks where there are several."""
    usable = {rack: [name for name in names if name not in fleet.foreign] for rack, names in racks.items()}
    ids = _free_ids(fleet.foreign.values())
    if not per_rack or not label:
        first = [names[place] for place in range(_REFLECTORS) for names in usable.values() if len(names) > place]
        return (Wanted(nodes=tuple(first[:_REFLECTORS]), cluster_id=next(ids), clients="all()"),) if first else ()
    return tuple(
        Wanted(nodes=tuple(names[:_REFLECTORS]), cluster_id=next(ids), clients=_of_rack(label, rack))
        for rack, names in usable.items()
        if names
    )


def _of_rack(label: str, rack: str) -> str:
    return f"{label} == '{rack}'" if rack else f"!has({label})"


def _free_ids(taken: Iterable[str]) -> Iterator[str]:
    used = set(taken)
    address = ipaddress.IPv4Address(DEFAULT_CLUSTER_ID)
    while True:
        if str(address) not in used:
            yield str(address)
        address += 1


def _reasons(fleet: Fleet, count: int, label: str, proposal: tuple[Wanted, ...]) -> Iterable[str]:
    if count <= MESH_COMFORTABLE:
        yield f"up to {MESH_COMFORTABLE} nodes a mesh comes up as fast as reflectors do, and no node is special"
    elif count <= MESH_MOST:
        yield f"above {MESH_COMFORTABLE} nodes a mesh works but grows with the square; above {MESH_MOST} reflectors pay"
    else:
        yield f"above {MESH_MOST} nodes a mesh takes longer to come up and to settle than reflectors, and more memory"
    if fleet.mesh and count > 1:
        yield "the move costs a graceful restart of BIRD on each reflector, one after the other, and no route"
    for wanted in proposal:
        if len(wanted.nodes) < _REFLECTORS:
            yield f"cluster {wanted.cluster_id} has but one node: while that is away nothing new is learned"
    if fleet.foreign:
        named = ", ".join(sorted(fleet.foreign)[:_NAMED_AT_MOST])
        yield f"reflectors that somebody else made are left alone: {named}"
    unlabelled = [name for name, host in fleet.hosts.items() if label and label not in host.labels]
    if unlabelled:
        yield f"{len(unlabelled)} nodes have no label {label}: {', '.join(unlabelled[:_NAMED_AT_MOST])}"
