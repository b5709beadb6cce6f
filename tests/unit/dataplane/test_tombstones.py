"""How long ended connections are remembered, and what happens when the kernel cannot be told."""

from __future__ import annotations

import pytest

from calico.dataplane.flows import tombstones as module
from calico.dataplane.flows.tombstones import Tombstones
from calico.errors import Transient
from calico.rules.config import RulesConfig
from calico.rules.ended import EndedFlow, EndedFlows
from calico.rules.ruleset import Ruleset
from calico.rules.table import TableState


def flow(number: int) -> EndedFlow:
    return EndedFlow(bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2)), 6, number, 80)


class World:
    def __init__(self, most: int = 100) -> None:
        self.state = TableState()
        Ruleset(self.state, RulesConfig())
        self.commits = 0
        self.fails = False
        self.tombstones = Tombstones(EndedFlows(self.state), self._commit, most=most)

    def _commit(self) -> None:
        if self.fails:
            raise Transient("not now")
        self.commits += 1

    def in_table(self) -> set[EndedFlow]:
        return set(EndedFlows(self.state))


def test_one_commit_brings_many_to_the_kernel_and_none_costs_none() -> None:
    world = World()
    world.tombstones.add(map(flow, range(1, 50)))
    assert (len(world.tombstones), len(world.in_table()), world.commits) == (49, 49, 1)
    world.tombstones.add([])
    world.tombstones.remove([flow(1000)])
    assert world.commits == 1
    world.tombstones.remove([flow(1), flow(2)])
    assert (len(world.tombstones), len(world.in_table()), world.commits) == (47, 47, 2)


def test_the_oldest_give_way_when_there_are_too_many() -> None:
    world = World(most=3)
    world.tombstones.add(map(flow, (1, 2, 3)))
    world.tombstones.add(map(flow, (1, 4)))
    assert world.in_table() == {flow(3), flow(1), flow(4)} == set(world.tombstones)


def test_they_go_when_they_are_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    world, now = World(), [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    assert world.tombstones.expire() is None
    world.tombstones.add([flow(1)])
    now[0] += 3600
    world.tombstones.add([flow(2)])
    assert world.tombstones.expire() == 2 * 3600
    now[0] += 2 * 3600
    assert world.tombstones.expire() == 3600
    assert world.in_table() == {flow(2)}
    now[0] += 3600
    assert world.tombstones.expire() is None
    assert world.in_table() == set()


def test_those_of_an_earlier_process_are_taken_over() -> None:
    world = World()
    EndedFlows(world.state).add(flow(7))
    world.tombstones.adopt()
    assert set(world.tombstones) == {flow(7)}
    world.tombstones.remove([flow(7)])
    assert world.in_table() == set()


def test_a_commit_that_fails_is_told_and_the_table_keeps_what_is_wanted() -> None:
    world = World()
    world.fails = True
    with pytest.raises(Transient):
        world.tombstones.add([flow(1)])
    assert world.in_table() == {flow(1)} == set(world.tombstones)
