"""Desired against actual: what is planned, what stays dirty, and what an awaiting driver must not lose."""

from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.lib.reconcile import Plan, Reconciler


class World:
    """A real thing of keys and values, some of which refuse to be written."""

    def __init__(self, **content: int) -> None:
        self.content: dict[str, int] = dict(content)
        self.refused: set[str] = set()
        self.plans: list[Plan[str, int]] = []
        self.broken = False
        self.meanwhile = lambda: None

    async def read(self) -> Mapping[str, int]:
        return dict(self.content)

    async def write(self, plan: Plan[str, int]) -> Iterable[tuple[str, Exception]]:
        self.plans.append(plan)
        self.meanwhile()
        if self.broken:
            raise OSError("gone")
        for key, value in plan.put.items():
            if key not in self.refused:
                self.content[key] = value
        for key in plan.delete - self.refused:
            del self.content[key]
        return [(key, ValueError(key)) for key in self.refused & (plan.put.keys() | plan.delete)]


async def test_the_first_apply_removes_what_is_there_and_not_wanted() -> None:
    world = World(stale=1, same=2)
    reconciler = Reconciler(world)
    reconciler.want("same", 2)
    reconciler.want("new", 3)
    assert await reconciler.apply() == []
    assert world.content == {"same": 2, "new": 3}
    assert world.plans == [Plan({"new": 3}, frozenset({"stale"}))]


async def test_nothing_is_written_when_nothing_differs() -> None:
    world = World(a=1)
    reconciler = Reconciler(world)
    reconciler.want("a", 1)
    await reconciler.apply()
    reconciler.want("a", 2)
    reconciler.want("a", 1)
    await reconciler.apply()
    assert world.plans == []


async def test_what_failed_is_tried_again() -> None:
    world = World()
    reconciler = Reconciler(world)
    world.refused = {"a"}
    reconciler.want("a", 1)
    reconciler.want("b", 2)
    assert [key for key, _ in await reconciler.apply()] == ["a"]
    world.refused = set()
    assert await reconciler.apply() == []
    assert world.content == {"a": 1, "b": 2}


async def test_what_is_wanted_while_the_driver_works_is_written_next_time() -> None:
    world = World()
    reconciler = Reconciler(world)
    reconciler.want("a", 1)
    world.meanwhile = lambda: reconciler.want("a", 2)
    await reconciler.apply()
    world.meanwhile = lambda: None
    await reconciler.apply()
    assert world.content == {"a": 2}


async def test_after_a_broken_write_the_actual_state_is_read_again() -> None:
    world = World()
    reconciler = Reconciler(world)
    reconciler.want("a", 1)
    world.broken = True
    with pytest.raises(OSError, match="gone"):
        await reconciler.apply()
    world.broken, world.content = False, {"foreign": 9}
    await reconciler.apply()
    assert world.content == {"a": 1}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 2), st.booleans()), max_size=20))
async def test_any_history_ends_at_what_is_wanted(history: list[tuple[str, int | None, bool]]) -> None:
    world, wanted = World(a=0, z=1), {}
    reconciler = Reconciler(world)
    for key, value, apply in history:
        if value is None:
            reconciler.unwant(key)
            wanted.pop(key, None)
        else:
            reconciler.want(key, value)
            wanted[key] = value
        if apply:
            await reconciler.apply()
            assert world.content == wanted
    await reconciler.apply()
    assert world.content == wanted


async def test_what_others_changed_is_told_once_it_was_put_right() -> None:
    world = World()
    reconciler = Reconciler(world)
    for key in ("a", "b", "c"):
        reconciler.want(key, 1)
    await reconciler.apply()
    assert reconciler.repaired == set()
    world.content = {"a": 7, "c": 1, "added": 3}
    reconciler.resync()
    await reconciler.apply()
    assert reconciler.repaired == {"a", "b", "added"}
    assert world.content == {"a": 1, "b": 1, "c": 1}
    await reconciler.apply()
    assert reconciler.repaired == set()


async def test_what_was_there_at_the_first_look_nobody_changed() -> None:
    world = World(stale=1, wrong=2)
    reconciler = Reconciler(world)
    reconciler.want("wrong", 3)
    await reconciler.apply()
    assert world.content == {"wrong": 3}
    assert reconciler.repaired == set()


async def test_what_we_were_about_to_change_anyway_nobody_else_changed() -> None:
    world = World()
    reconciler = Reconciler(world)
    for key in ("flushed", "other", "refused"):
        reconciler.want(key, 1)
    await reconciler.apply()
    world.content = {"refused": 2}
    world.refused = {"refused"}
    reconciler.touch("flushed")  # known: the kernel did it
    reconciler.want("other", 2)
    reconciler.resync()
    await reconciler.apply()
    assert world.content == {"flushed": 1, "other": 2, "refused": 2}
    assert reconciler.repaired == set()


async def test_a_noticed_change_is_put_right_without_reading() -> None:
    world = World()
    reconciler = Reconciler(world)
    reconciler.want("a", 1)
    await reconciler.apply()
    world.content = {"a": 2, "strange": 5}
    reconciler.noticed("a", 2)
    reconciler.noticed("strange", 5)
    await reconciler.apply()
    assert world.content == {"a": 1}
    assert reconciler.repaired == {"a", "strange"}


async def test_a_change_that_was_taken_back_needs_no_repair() -> None:
    world = World()
    reconciler = Reconciler(world)
    reconciler.want("a", 1)
    await reconciler.apply()
    reconciler.noticed("a", 2)
    reconciler.noticed("a", 1)
    plans = len(world.plans)
    await reconciler.apply()
    assert len(world.plans) == plans
    assert reconciler.repaired == set()
