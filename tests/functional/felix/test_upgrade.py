"""Felix gives way to another version of itself and back, and no packet notices."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
from felix_old_layout import take_over
from felix_watched import watched
from felix_world import World

from calico.rules.layout import LAYOUT

pytestmark = pytest.mark.flaky(reruns=0)  # a leak that is seen once is one

ROUNDS = 3


@pytest.mark.timeout(180)
def test_a_table_of_another_layout_gives_way_to_ours_and_ours_to_it_without_a_window(
    world: World, record_property: Callable[[str, object], None]
) -> None:
    # there and back, and each processor may have one packet within the table that goes
    with watched(world, record_property, on_their_way=2 * ROUNDS * (os.cpu_count() or 1)) as dance:
        for _ in range(ROUNDS):
            world.kill_felix()
            take_over(world)
            assert f"layout {LAYOUT - 1} " in world.ruleset()
            assert world.nft("add counter inet calico leftover") == 0  # of a kind that we would not even find
            for _ in range(20):
                dance.step()
            world.start_felix()
            world.settle()
            shown = world.ruleset()
            assert f"layout {LAYOUT} " in shown
            assert "leftover" not in shown
            assert "judged" not in shown


@pytest.mark.timeout(180)
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["restart", "crash"])
def test_a_new_start_of_felix_changes_nothing_in_the_kernel_and_loses_nothing(
    world: World, record_property: Callable[[str, object], None], how: signal.Signals
) -> None:
    with watched(world, record_property) as dance:
        for _ in range(200):
            dance.step()
        world.settle()
        before = kernel_state(world)
        assert world.felix is not None
        world.felix.send_signal(how)
        world.felix.wait(timeout=20)
        world.felix = None
        assert kernel_state(world) == before
        world.start_felix()
        world.settle()
        assert kernel_state(world) == before, "what did not differ was written again"


def kernel_state(world: World) -> str:
    """Ruleset with handles, which a rewritten object would change, routes and neighbours."""
    lines = world.ruleset("-a").splitlines()
    ruleset = "\n".join(line for line in lines if not line.startswith(("table", "\tflags")))  # whose it is does change
    routes = "".join(world.show("h", f"-{family} route show proto 80") for family in (4, 6))
    return ruleset + routes + world.show("h", "neigh show nud permanent")
