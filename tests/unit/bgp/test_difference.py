from __future__ import annotations

from typing import Any

import pytest

from calico.bgp.birdconf.difference import Effect, compare
from calico.bgp.birdconf.render import render


def _text(world: Any) -> str:
    return render(world.plan("a").plan, "/run/calico/bird.log")


def _base(world: Any) -> Any:
    return world.node("a", "10.0.0.1", "fd00::1").node("b", "10.0.0.2").pool("p", "10.65.0.0/16")


def test_the_filters_of_a_session_reset_nothing(new_world: Any) -> None:
    old, new = (new_world().node("a", "10.0.0.1").filter("f", exportV4=[{"action": "Reject"}]) for _ in "ab")
    old.peer("p", peerIP="10.0.0.9", asNumber=65001)
    new.peer("p", peerIP="10.0.0.9", asNumber=65001, filters=["f"])
    difference = compare(render(old.plan("a").plan, "/log"), render(new.plan("a").plan, "/log"))
    assert (difference.changed, difference.resets, difference.kept) == (True, frozenset(), {"Global_10_0_0_9"})


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.pool("q", "10.66.0.0/16"),
        lambda w: w.pool("p", "10.65.0.0/16", disableBGPExport=True),
        lambda w: w.block("a", "10.65.1.0/26"),
        lambda w: w.config(logSeverityScreen="Debug"),
        lambda w: w.config(ipv4NormalRoutePriority=512),
    ],
)
def test_pools_blocks_filters_and_debugging_reset_nothing(new_world: Any, change: Any) -> None:
    difference = compare(_text(_base(new_world())), _text(change(_base(new_world()))))
    assert difference.changed
    assert difference.resets == frozenset()
    assert difference.kept == {"Mesh_10_0_0_2"}
    assert not difference.restarts_direct


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.config(nodeMeshMaxRestartTime="90s"),
        lambda w: w.config(listenPort=1790),
        lambda w: w.config(asNumber=65000),
        lambda w: w.config(bindMode="NodeIP"),
        lambda w: w.node("b", "10.0.0.2", asNumber=65000),
    ],
)
def test_a_change_of_a_sessions_own_options_resets_it(new_world: Any, change: Any) -> None:
    difference = compare(_text(_base(new_world())), _text(change(_base(new_world()))))
    assert difference.resets == {"Mesh_10_0_0_2"}
    assert difference.kept == frozenset()


def test_peers_that_come_and_go_leave_the_others(new_world: Any) -> None:
    difference = compare(_text(_base(new_world())), _text(_base(new_world()).node("c", "10.0.0.3")))
    assert (difference.added, difference.removed, difference.kept) == (
        {"Mesh_10_0_0_3"},
        frozenset(),
        {"Mesh_10_0_0_2"},
    )
    back = compare(_text(_base(new_world()).node("c", "10.0.0.3")), _text(_base(new_world())))
    assert (back.added, back.removed, back.resets) == (frozenset(), {"Mesh_10_0_0_3"}, frozenset())


def test_a_new_router_id_resets_everything(new_world: Any) -> None:
    text = _text(_base(new_world()))
    assert compare(text, text.replace("router id 10.0.0.1;", "router id 10.0.0.7;")).resets == {"Mesh_10_0_0_2"}


def test_ignoring_an_interface_takes_the_connected_routes_away_for_a_moment(new_world: Any) -> None:
    difference = compare(_text(_base(new_world())), _text(_base(new_world()).config(ignoredInterfaces=["eth9"])))
    assert difference.restarts_direct
    assert difference.resets == frozenset()


def test_the_same_text_is_no_difference(new_world: Any) -> None:
    text = _text(_base(new_world()))
    assert not compare(text, text).changed


BFD = "bgp.calico-network/bfd"


@pytest.mark.parametrize(
    ("before", "after", "effect"),
    [("", "100ms", Effect.SOFT), ("100ms", "200ms x5", Effect.SOFT), ("100ms", "", Effect.RESET)],
)
def test_bfd_comes_and_changes_without_a_reset_but_the_far_end_takes_its_end_for_a_failure(
    new_world: Any, before: str, after: str, effect: Effect
) -> None:
    worlds = (new_world().config(annotations={BFD: text}) for text in (before, after))
    old, new = (_text(world.node("a", "10.0.0.1").node("b", "10.0.9.2")) for world in worlds)
    difference = compare(old, new)
    assert difference.effect is effect
    assert difference.watched == ({"Mesh_10_0_9_2"} if before else frozenset())


def test_bfd_with_a_neighbour_on_the_link_makes_another_session_of_it(new_world: Any) -> None:
    old, new = (_text(_base(new_world()).config(annotations={BFD: text})) for text in ("", "100ms"))
    assert compare(old, new).effect is Effect.RESET


@pytest.mark.parametrize(
    ("change", "effect"),
    [
        (lambda w: w, Effect.NONE),
        (lambda w: w.pool("q", "10.66.0.0/16"), Effect.SOFT),
        (lambda w: w.node("c", "10.0.0.3"), Effect.SOFT),
        (lambda w: w.config(nodeMeshMaxRestartTime="90s"), Effect.RESET),
        (lambda w: w.config(ignoredInterfaces=["eth9"]), Effect.RESTART),
        (lambda w: w.node("a", "10.0.0.7"), Effect.RESTART),
    ],
)
def test_a_change_is_of_one_of_four_classes(new_world: Any, change: Any, effect: Effect) -> None:
    assert compare(_text(_base(new_world())), _text(change(_base(new_world())))).effect is effect


IMPORTS = {"importV4": [{"action": "Reject", "cidr": "10.77.0.0/16", "matchOperator": "In"}]}
EXPORTS = {"exportV4": [{"action": "Reject", "cidr": "10.77.0.0/16", "matchOperator": "In"}]}


@pytest.mark.parametrize(
    ("change", "refiltered"),
    [
        (lambda w: w.filter("f", **IMPORTS), {"Global_10_0_0_8"}),
        (lambda w: w.filter("f", **EXPORTS), set()),
        (lambda w: w.filter("g", **IMPORTS), set()),
        (lambda w: w.peer("p", peerIP="10.0.0.9", asNumber=65001, filters=["f"]), {"Global_10_0_0_9"}),
        (lambda w: w.config(ipv4NormalRoutePriority=512), {"Global_10_0_0_8", "Global_10_0_0_9"}),
        (lambda w: w.pool("q", "10.66.0.0/16"), set()),
    ],
    ids=["its filter", "what it exports", "another filter", "a filter more", "what all filters call", "a pool"],
)
def test_a_far_end_that_cannot_send_its_routes_again_is_reset_by_a_change_of_what_is_accepted(
    new_world: Any, change: Any, refiltered: set[str]
) -> None:
    def world() -> Any:
        made = new_world().node("a", "10.0.0.1").filter("f").filter("g").peer("p", peerIP="10.0.0.9", asNumber=65001)
        return made.peer("q", peerIP="10.0.0.8", asNumber=65001, filters=["f"])

    difference = compare(_text(world()), _text(change(world())))
    assert difference.refiltered == refiltered
    assert difference.resets == frozenset()
    for name in ("Global_10_0_0_8", "Global_10_0_0_9"):
        assert difference.resets_session(name, refreshes=False) == (name in refiltered)
        assert not difference.resets_session(name)


def test_a_session_that_only_changes_its_name_is_reset(new_world: Any) -> None:
    old = _text(_base(new_world()).node("c", "10.0.0.3"))
    explicit = (
        _base(new_world()).node("c", "10.0.0.3").peer("p", nodeSelector="all()", peerIP="10.0.0.2", asNumber=64512)
    )
    difference = compare(old, _text(explicit))
    assert difference.effect is Effect.RESET
    assert (difference.resets, difference.kept) == ({"Mesh_10_0_0_2"}, {"Mesh_10_0_0_3"})
    assert (difference.added, difference.removed) == (frozenset(), frozenset())


def test_sessions_on_two_links_are_not_taken_for_each_other(new_world: Any) -> None:
    worlds = [new_world().node("a", "10.0.0.1") for _ in "ab"]
    for world, interface in zip(worlds, ("eth1", "eth2"), strict=True):
        world.peer("p", {"bgp.calico-network/interface": interface}, peerIP="fe80::9", asNumber=65009)
    difference = compare(*map(_text, worlds))
    assert (difference.effect, len(difference.added), len(difference.removed)) == (Effect.SOFT, 1, 1)
