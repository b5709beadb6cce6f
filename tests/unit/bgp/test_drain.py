"""A host that is drained: asked for by an annotation of its Node, said to all its peers, without resetting one."""

from __future__ import annotations

from typing import Any

import pytest

from calico.bgp.birdconf.difference import Effect, compare
from calico.bgp.birdconf.render import render
from calico.bgp.planning.plan import Planned
from calico.bgp.planning.reference import Route, exported, imported

DRAIN = "bgp.calico-network/drain"
SHUTDOWN = (65535, 0)


def _planned(world: Any, value: str | None) -> Planned:
    annotations = {} if value is None else {DRAIN: value}
    world.node("a", "10.0.0.1", annotations=annotations).node("b", "10.0.0.2").pool("v4", "10.65.0.0/16")
    planned: Planned = world.peer("rack", peerIP="10.0.0.9", asNumber=65001).plan("a")
    return planned


@pytest.mark.parametrize(("value", "drained"), [(None, False), ("false", False), ("true", True), ("soon", True)])
def test_the_annotation_of_the_node_decides_and_a_condition_says_so(
    world: Any, value: str | None, drained: bool
) -> None:
    planned = _planned(world, value)
    assert planned.plan.drained is drained
    assert ("bgp-drained" in {problem.code for problem in planned.problems}) is drained


def test_an_unreadable_value_is_named(world: Any) -> None:
    (problem,) = [p for p in _planned(world, "soon").problems if p.code == "bgp-resource-invalid"]
    assert problem.object == "Node a"
    assert problem.message.startswith(f"metadata.annotations[{DRAIN}]: 'soon' is neither true nor false")


def test_the_drain_of_another_node_changes_nothing_here(world: Any) -> None:
    before = world.node("a", "10.0.0.1").node("b", "10.0.0.2").plan("a").plan
    assert world.node("b", "10.0.0.2", annotations={DRAIN: "true"}).plan("a").plan == before


def test_neither_draining_nor_its_end_resets_a_session(world: Any) -> None:
    served = render(_planned(world, None).plan, "/x")
    drained = render(_planned(world, "true").plan, "/x")
    for difference in (compare(served, drained), compare(drained, served)):
        assert (difference.effect, len(difference.kept)) == (Effect.SOFT, 2)


def test_all_peers_learn_that_the_host_is_leaving_and_those_of_its_system_by_preference_too(world: Any) -> None:
    plan = _planned(world, "true").plan
    inside = next(peer for peer in plan.peers if peer.internal)
    outside = next(peer for peer in plan.peers if not peer.internal)
    local = Route(net="10.65.1.1/32", interface="cali1")
    for peer, preference in ((inside, 0), (outside, 2147483647 - 1024)):
        told = exported(plan, peer, local)
        assert told is not None
        assert (told.local_preference, SHUTDOWN in told.communities) == (preference, True)
    assert imported(plan, outside, Route(net="10.65.2.1/32", source="peer", local_preference=100)).local_preference == 0
    passed_on = exported(plan, inside, Route(net="10.65.2.1/32", source="peer", local_preference=7))
    assert passed_on is not None
    assert (passed_on.local_preference, passed_on.communities) == (7, frozenset())
