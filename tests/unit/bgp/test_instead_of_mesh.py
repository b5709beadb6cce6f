"""A peering that takes the place of the mesh: what moves a host between the two changes nothing it has already."""

from __future__ import annotations

from typing import Any

import pytest

from calico.bgp.birdconf.difference import Effect, compare
from calico.bgp.birdconf.render import render
from calico.bgp.planning.peerannotations import INSTEAD_OF_MESH

LABEL = "bgp.calico-network/reflector"
ID, OTHER_ID = "244.0.0.1", "244.0.0.2"
ADDRESSES = {"r1": ("10.0.0.1", "fd00::1"), "r2": ("10.0.0.2", "fd00::2"), "a": ("10.0.0.3", "fd00::3"),
             "b": ("10.0.0.4", ""), "c": ("10.0.0.5", "fd00::5")}  # fmt: skip


def cluster(new_world: Any, *, reflectors: dict[str, str], joined: tuple[str, ...] = (), mesh: bool = True) -> Any:
    """Five hosts; ``reflectors`` have these cluster ids, ``joined`` the label alone."""
    world = new_world().pool("p", "10.65.0.0/16").config(nodeToNodeMeshEnabled=mesh, nodeMeshMaxRestartTime="90s")
    for name, addresses in ADDRESSES.items():
        own = reflectors.get(name, "")
        labels = {LABEL: own or ID} if own or name in joined else {}
        world.node(name, *addresses, labels, **({"routeReflectorClusterID": own} if own else {}))
    for each in {*reflectors.values()} | ({ID} if joined else set()):
        world.peer(
            f"route-reflectors-{each}",
            {INSTEAD_OF_MESH: "true"},
            nodeSelector="all()",
            peerSelector=f"{LABEL} == '{each}'",
            maxRestartTime="90s",
        )
    return world


def text(world: Any, name: str) -> str:
    planned = world.plan(name)
    assert not planned.problems
    return render(planned.plan, "/run/calico/bird.log")


@pytest.mark.parametrize("name", ["a", "b", "c", "r2"])
def test_a_host_that_becomes_a_reflector_changes_nothing_on_others_while_the_mesh_is_on(
    new_world: Any, name: str
) -> None:
    mesh = text(cluster(new_world, reflectors={}), name)
    assert text(cluster(new_world, reflectors={}, joined=("r1",)), name) == mesh
    assert text(cluster(new_world, reflectors={"r1": ID}), name) == mesh


def test_the_reflector_itself_resets_its_sessions(new_world: Any) -> None:
    before = text(cluster(new_world, reflectors={}, joined=("r1",)), "r1")
    assert before == text(cluster(new_world, reflectors={}), "r1")
    difference = compare(before, text(cluster(new_world, reflectors={"r1": ID}), "r1"))
    assert difference.effect is Effect.RESET
    assert len(difference.resets) == 7  # three hosts have two families, one has one
    assert (difference.added, difference.removed) == (frozenset(), frozenset())


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_the_end_of_the_mesh_removes_sessions_and_touches_none_that_stays(new_world: Any, name: str) -> None:
    reflectors = {"r1": ID, "r2": ID}
    old = text(cluster(new_world, reflectors=reflectors), name)
    new = text(cluster(new_world, reflectors=reflectors, mesh=False), name)
    assert compare(old, new).effect is Effect.SOFT
    assert compare(old, new).kept == {
        p.name for p in cluster(new_world, reflectors=reflectors, mesh=False).plan(name).plan.peers
    }
    assert compare(new, old).effect is Effect.SOFT


def test_reflectors_are_clients_of_nobody_whatever_their_cluster_and_all_others_are(new_world: Any) -> None:
    world = cluster(new_world, reflectors={"r1": ID, "r2": OTHER_ID}, mesh=False)
    reflected = {name: peer.rr_cluster_id for name, peer in world.sessions("r1").items()}
    assert reflected.pop("Mesh_10_0_0_2") is None
    assert reflected.pop("Mesh_fd00__2") is None
    assert set(reflected.values()) == {ID}
    assert not any(peer.rr_cluster_id for peer in world.sessions("a").values())


def test_of_two_ends_exactly_one_calls(new_world: Any) -> None:
    world = cluster(new_world, reflectors={"r1": ID, "r2": ID}, mesh=False)
    waits = {(name, peer.address): peer.passive for name in ADDRESSES for peer in world.plan(name).plan.peers}
    owner = {address: name for name, both in ADDRESSES.items() for address in both if address}
    assert len(waits) == 2 * 12
    for (name, address), passive in waits.items():
        mine = ADDRESSES[name][1 if ":" in address else 0]
        assert waits[owner[address], mine] is not passive


def test_without_the_annotation_a_reflector_leaves_the_mesh_as_it_does_in_calico(new_world: Any) -> None:
    world = new_world().node("r1", "10.0.0.1", routeReflectorClusterID=ID).node("a", "10.0.0.3").node("b", "10.0.0.4")
    assert set(world.sessions("a")) == {"Mesh_10_0_0_4"}
    assert not world.sessions("r1")


def test_the_annotation_needs_a_far_end_that_is_selected(new_world: Any) -> None:
    world = new_world().node("a", "10.0.0.3").peer("p", {INSTEAD_OF_MESH: "true"}, peerIP="10.0.0.9", asNumber=64512)
    assert [(p.code, "peerSelector" in p.message) for p in world.plan("a").problems] == [("bgp-resource-invalid", True)]
    assert not world.sessions("a")


def test_reflectors_take_their_turns_first(new_world: Any) -> None:
    world = cluster(new_world, reflectors={"c": ID}, mesh=True)
    assert [world.plan(name).turn for name in ("c", "a", "b")] == [0, 1, 2]
