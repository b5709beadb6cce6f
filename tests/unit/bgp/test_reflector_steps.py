"""The steps of a move: their order, where they go on after an interruption, and what forbids them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from calico.bgp.planning.peerannotations import INSTEAD_OF_MESH
from calico.bgp.planning.snapshot import SnapshotStore
from calico.bgp.reflectors.advice import advise
from calico.bgp.reflectors.evidence import HostReport, SessionReport, open_points, unlearned
from calico.bgp.reflectors.fleet import REFLECTOR_LABEL, Fleet, peering_name, peering_of, read_fleet
from calico.bgp.reflectors.steps import Wanted, steps_to_add, steps_to_mesh, steps_to_reflectors, steps_to_remove
from calico.errors import InvalidInput, NotFound

ID, OTHER_ID = "244.0.0.1", "244.0.0.2"


def fleet_of(world: Any) -> Fleet:
    store = SnapshotStore("")
    store.apply(world.updates)
    return read_fleet(store.view())


def hosts(
    world: Any,
    roles: dict[str, str] | None = None,
    *,
    mesh: bool = True,
    peerings: dict[str, str] | None = None,
    count: int = 6,
) -> Any:
    """Hosts h1.. in racks x (odd) and y; ``roles`` per host: ``joined``, ``reflects`` or both with a cluster id."""
    world.config(nodeToNodeMeshEnabled=mesh)
    for number in range(1, count + 1):
        role, _, cluster_id = (roles or {}).get(f"h{number}", "").partition(" ")
        cluster_id = cluster_id or ID
        labels = {"rack": "xy"[number % 2 == 0]} | (
            {REFLECTOR_LABEL: cluster_id} if role in ("joined", "reflects") else {}
        )
        bgp = {"routeReflectorClusterID": cluster_id} if role in ("reflects", "foreign") else {}
        world.node(f"h{number}", f"10.0.0.{number}", f"fd00::{number}", labels, **bgp)
    for cluster_id, clients in (peerings or {}).items():
        peer = peering_of(cluster_id, clients, None)
        selectors = {"nodeSelector": peer.spec.node_selector, "peerSelector": peer.spec.peer_selector}
        world.peer(peering_name(cluster_id), dict(peer.metadata.annotations), **selectors)
    return world


def kinds(steps: Iterable[Any]) -> list[str]:
    return [f"{step.kind} {step.node}".strip() for step in steps]


BOTH = {"h1": "reflects", "h2": "reflects"}


def test_nodes_join_before_they_reflect_and_one_after_the_other(world: Any) -> None:
    steps = steps_to_add(fleet_of(hosts(world)), Wanted(nodes=("h2", "h1"), cluster_id=ID))
    assert kinds(steps) == ["create-peering", "join h1", "reflect h1", "join h2", "reflect h2"]
    assert all(step.undo and step.cost for step in steps)


@pytest.mark.parametrize(
    ("roles", "peerings", "left"),
    [
        ({}, {ID: "all()"}, ["join h1", "reflect h1", "join h2", "reflect h2"]),
        ({"h1": "joined"}, {ID: "all()"}, ["reflect h1", "join h2", "reflect h2"]),
        ({"h1": "reflects"}, {ID: "all()"}, ["join h2", "reflect h2"]),
        ({"h1": "reflects", "h2": "joined"}, {ID: "all()"}, ["reflect h2"]),
        (BOTH, {ID: "all()"}, []),
    ],
)
def test_an_interrupted_move_goes_on_from_what_the_datastore_says(
    world: Any, roles: dict[str, str], peerings: dict[str, str], left: list[str]
) -> None:
    fleet = fleet_of(hosts(world, roles, peerings=peerings))
    assert kinds(steps_to_add(fleet, Wanted(nodes=("h1", "h2"), cluster_id=ID))) == left


def test_the_mesh_ends_last_and_only_when_everybody_has_two_reflectors(new_world: Any) -> None:
    ready = fleet_of(hosts(new_world(), {**BOTH, "h3": "joined"}, peerings={ID: "all()"}))
    assert kinds(steps_to_reflectors(ready)) == ["reflect h3", "mesh-off"]
    off = fleet_of(hosts(new_world(), BOTH, peerings={ID: "all()"}, mesh=False))
    assert steps_to_reflectors(off) == []
    single = fleet_of(hosts(new_world(), {"h1": "reflects"}, peerings={ID: "all()"}))
    with pytest.raises(InvalidInput, match="two are safe"):
        steps_to_reflectors(single)
    assert kinds(steps_to_reflectors(single, alone=True)) == ["mesh-off"]
    with pytest.raises(InvalidInput, match="no reflectors yet"):
        steps_to_reflectors(fleet_of(hosts(new_world())))


def test_the_mesh_does_not_end_while_a_node_is_nobodys_client(new_world: Any) -> None:
    fleet = fleet_of(hosts(new_world(), {"h1": "reflects", "h3": "reflects"}, peerings={ID: "rack == 'x'"}))
    with pytest.raises(InvalidInput, match=r"Node h2: .*cut off"):
        steps_to_reflectors(fleet)
    two = {"h1": "reflects", "h3": "reflects", "h2": f"reflects {OTHER_ID}", "h4": f"reflects {OTHER_ID}"}
    racks = fleet_of(hosts(new_world(), two, peerings={ID: "rack == 'x'", OTHER_ID: "rack == 'y'"}))
    assert kinds(steps_to_reflectors(racks)) == ["mesh-off"]
    assert racks.clients_of(racks.clusters[ID]) == ("h5",)


def test_the_way_back_is_the_reverse(world: Any) -> None:
    fleet = fleet_of(hosts(world, BOTH, peerings={ID: "all()"}, mesh=False))
    assert kinds(steps_to_mesh(fleet)) == [
        "mesh-on",
        "stop-reflecting h1",
        "leave h1",
        "stop-reflecting h2",
        "leave h2",
        "delete-peering",
    ]


def test_the_last_reflector_stays_while_there_is_no_mesh(new_world: Any) -> None:
    without = fleet_of(hosts(new_world(), BOTH, peerings={ID: "all()"}, mesh=False))
    assert kinds(steps_to_remove(without, ["h2"])) == ["stop-reflecting h2", "leave h2"]
    with pytest.raises(InvalidInput, match="no reflector and there is no mesh"):
        steps_to_remove(without, ["h1", "h2"])
    meshed = fleet_of(hosts(new_world(), BOTH, peerings={ID: "all()"}))
    assert kinds(steps_to_remove(meshed, ["h1", "h2"]))[-1] == "delete-peering"


def test_a_removal_goes_on_after_an_interruption(new_world: Any) -> None:
    halfway = fleet_of(hosts(new_world(), {"h2": "joined"}, peerings={ID: "all()"}))
    assert kinds(steps_to_remove(halfway, ["h1", "h2"])) == ["leave h2", "delete-peering"]
    almost = fleet_of(hosts(new_world(), peerings={ID: "all()"}))
    assert kinds(steps_to_remove(almost, ["h2"])) == ["delete-peering"]
    assert steps_to_remove(fleet_of(hosts(new_world())), ["h2"]) == []


@pytest.mark.parametrize(
    ("change", "wanted", "error", "text"),
    [
        (lambda w: w, Wanted(nodes=("h9",), cluster_id=ID), NotFound, "Node h9 does not exist"),
        (lambda w: w.put("nodes", "h9", {}), Wanted(nodes=("h9",), cluster_id=ID), NotFound, "no usable spec.bgp"),
        (lambda w: w, Wanted(nodes=("h1",), cluster_id="300.0.0.1"), InvalidInput, "--cluster-id"),
        (lambda w: w, Wanted(nodes=("h1",), cluster_id="1.2.3.4; evil"), InvalidInput, "--cluster-id"),
        (lambda w: w, Wanted(nodes=("h1",), cluster_id=ID, clients="rack = x"), InvalidInput, "--clients"),
        (lambda w: w, Wanted(nodes=("h1",), cluster_id=ID, clients="rack == 'z'"), InvalidInput, "selects no node"),
        (
            lambda w: w.node("h2", "10.0.0.2", asNumber=65001),
            Wanted(nodes=("h1",), cluster_id=ID),
            InvalidInput,
            "Node h2: spec.bgp.asNumber: is in AS 65001",
        ),
        (
            lambda w: w.node("h1", "10.0.0.1", routeReflectorClusterID="1.1.1.1"),
            Wanted(nodes=("h1",), cluster_id=ID),
            InvalidInput,
            "by somebody else",
        ),
        (
            lambda w: w.node("h5", "10.0.0.5", routeReflectorClusterID=ID),
            Wanted(nodes=("h1",), cluster_id=ID),
            InvalidInput,
            "Node h5: .*choose another",
        ),
        (
            lambda w: w.peer(peering_name(ID), nodeSelector="all()", peerSelector="has(x)"),
            Wanted(nodes=("h1",), cluster_id=ID),
            InvalidInput,
            f"BGPPeer route-reflectors-{ID}: .*{INSTEAD_OF_MESH}",
        ),
        (
            lambda w: w.node("h1", "10.0.0.1", "", {REFLECTOR_LABEL: OTHER_ID}),
            Wanted(nodes=("h1",), cluster_id=ID),
            InvalidInput,
            f"of cluster {OTHER_ID}",
        ),
        (
            lambda w: w.put_raw("/calico/resources/v3/projectcalico.org/nodes/h7", "{"),
            Wanted(nodes=("h1",), cluster_id=ID),
            InvalidInput,
            "cannot be read",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_and_named(
    world: Any, change: Any, wanted: Wanted, error: type[Exception], text: str
) -> None:
    fleet = fleet_of(change(hosts(world)))
    with pytest.raises(error, match=text):
        steps_to_add(fleet, wanted)


def test_other_clients_than_those_of_the_cluster_are_refused_and_the_same_are_not(world: Any) -> None:
    fleet = fleet_of(hosts(world, peerings={ID: "rack == 'x'"}))
    same = Wanted(nodes=("h1",), cluster_id=ID, clients='rack == "x"')
    assert kinds(steps_to_add(fleet, same)) == ["join h1", "reflect h1"]
    assert kinds(steps_to_add(fleet, Wanted(nodes=("h1",), cluster_id=ID))) == ["join h1", "reflect h1"]
    with pytest.raises(InvalidInput, match="has the clients"):
        steps_to_add(fleet, Wanted(nodes=("h1",), cluster_id=ID, clients="all()"))


# ---- evidence


def report(fleet: Fleet, node: str, imported: dict[str, int], *, revision: int = 7, down: str = "") -> HostReport:
    sessions = {
        address: SessionReport(far != down, "Active" if far == down else "Established", count)
        for far, count in imported.items()
        for _, address in fleet.hosts[far].addresses
    }
    return HostReport(node=node, in_sync=True, revision=revision, sessions=sessions)


def whole(fleet: Fleet, told: int, **changed: HostReport | None) -> dict[str, HostReport]:
    """Every host has one route from each other, ``told`` from each reflector."""
    found: dict[str, HostReport | None] = {}
    for name in fleet.hosts:
        counts = {far: told if far in fleet.members else 1 for far in fleet.hosts if far != name}
        found[name] = report(fleet, name, counts)
    return {name: each for name, each in (found | changed).items() if each is not None}


def test_a_host_that_is_silent_behind_or_without_a_session_is_an_obstacle_unless_it_is_ignored(world: Any) -> None:
    fleet = fleet_of(hosts(world, BOTH, peerings={ID: "all()"}))
    pairs = list(fleet.pairs(mesh=True))
    assert len(pairs) == 15
    assert open_points(fleet, whole(fleet, 9), pairs, revision=7) == []
    assert open_points(fleet, whole(fleet, 9, h3=None), pairs) == ["h3 says nothing about its sessions"]
    behind = whole(fleet, 9, h3=report(fleet, "h3", dict.fromkeys(("h1", "h2", "h4", "h5", "h6"), 1), revision=6))
    assert open_points(fleet, behind, pairs, revision=7) == ["h3 does not run the configuration of revision 7 yet"]
    down = whole(fleet, 9, h3=report(fleet, "h3", dict.fromkeys(("h1", "h2", "h4", "h5", "h6"), 1), down="h1"))
    assert open_points(fleet, down, pairs) == [f"the IPv{family} session of h3 with h1 is Active" for family in (4, 6)]
    for reports in (behind, down, whole(fleet, 9, h3=None)):
        assert open_points(fleet, reports, pairs, revision=7, ignored=frozenset({"h3"})) == []


def test_the_mesh_is_needed_until_reflectors_have_told_as_much_as_it(world: Any) -> None:
    fleet = fleet_of(hosts(world, BOTH, peerings={ID: "all()"}))
    assert unlearned(fleet, whole(fleet, 3)) == []  # the three other hosts
    fewer = unlearned(fleet, whole(fleet, 2))
    assert len(fewer) == 4 * 2 * 2  # hosts, reflectors, families
    assert fewer[0] == "h3 has learned 2 IPv4 routes from h1, and 3 without reflectors"
    assert unlearned(fleet, whole(fleet, 2), ignored=frozenset({"h3", "h4", "h5", "h6"})) == []


def test_a_reflector_goes_when_the_other_tells_as_much(world: Any) -> None:
    fleet = fleet_of(hosts(world, BOTH, peerings={ID: "all()"}, mesh=False))
    counts = {"h1": 5, "h2": 5}
    assert unlearned(fleet, {"h3": report(fleet, "h3", counts)}, without="h2") == []
    found = unlearned(fleet, {"h3": report(fleet, "h3", {**counts, "h1": 4})}, without="h2")
    assert found[0].startswith("h3 has learned 4 IPv4 routes from h1, and 5 ")
    parting = report(fleet, "h2", {"h1": 4, **dict.fromkeys(("h3", "h4", "h5", "h6"), 1)})
    assert unlearned(fleet, {"h2": parting}, without="h2", leaves=True) == []
    deaf = report(fleet, "h2", {"h1": 3, **dict.fromkeys(("h3", "h4", "h5", "h6"), 1)})
    assert unlearned(fleet, {"h2": deaf}, without="h2", leaves=True)


# ---- objects and advice


def test_a_peering_takes_over_what_the_mesh_has(world: Any) -> None:
    world.config(
        annotations={"bgp.calico-network/bfd": "100ms", "unrelated": "x"},
        nodeMeshMaxRestartTime="90s",
        nodeMeshPassword={"secretKeyRef": {"name": "mesh", "key": "md5"}},
    )
    default = fleet_of(world).default
    assert default is not None
    peer = peering_of(ID, "rack == 'x'", default)
    assert peer.metadata.annotations == {INSTEAD_OF_MESH: "true", "bgp.calico-network/bfd": "100ms"}
    assert peer.spec.node_selector == f"(rack == 'x') || has({REFLECTOR_LABEL})"
    assert peer.spec.peer_selector == f"{REFLECTOR_LABEL} == '{ID}'"
    assert (peer.spec.max_restart_time, peer.spec.password) == ("90s", default.spec.node_mesh_password)


def test_a_small_mesh_is_kept_and_a_big_one_is_not(world: Any) -> None:
    small = advise(fleet_of(hosts(world)))
    assert (small.recommended, small.mesh.sessions_total, small.runs) == ("mesh", 15, "mesh")
    big = advise(fleet_of(world), nodes=200)
    assert (big.recommended, big.mesh.sessions_total, big.reflectors.sessions_total) == ("reflectors", 19900, 397)
    assert big.reflectors.memory_total_mb < big.mesh.memory_total_mb / 4


def test_a_proposal_spreads_over_racks_or_serves_each(world: Any) -> None:
    fleet = fleet_of(hosts(world))
    spread = advise(fleet, rack_label="rack").proposal
    assert spread == (Wanted(nodes=("h1", "h2"), cluster_id=ID, clients="all()"),)
    each = advise(fleet, rack_label="rack", per_rack=True).proposal
    assert each == (
        Wanted(nodes=("h1", "h3"), cluster_id=ID, clients="rack == 'x'"),
        Wanted(nodes=("h2", "h4"), cluster_id=OTHER_ID, clients="rack == 'y'"),
    )


def test_advice_speaks_of_what_is_there_already(world: Any) -> None:
    fleet = fleet_of(hosts(world, {**BOTH, "h4": "foreign 9.9.9.9"}, peerings={ID: "all()"}, mesh=False))
    advice = advise(fleet)
    assert advice.runs == "reflectors"
    assert advice.proposal == (Wanted(nodes=("h1", "h2"), cluster_id=ID, clients="all()"),)
    assert any("left alone: h4" in sentence for sentence in advice.why)
