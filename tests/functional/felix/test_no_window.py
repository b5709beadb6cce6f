"""No window: while everything changes, nothing forbidden passes and nothing allowed is lost."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from felix_dance import Dance
from felix_stream import CONNECTION, Stream
from felix_watched import watched
from felix_world import World, until

from calico.felix.steps import STEPS

pytestmark = pytest.mark.flaky(reruns=0)  # a leak that is seen once is one

CHANGES, CHANGES_WHILE_SLOW = 4000, 1500
ENDS = (*STEPS, "sending", "sent")
ENDING = str(Path(__file__).with_name("felix_ending.py"))


@pytest.mark.timeout(180)
def test_while_policies_sets_tiers_and_endpoints_change_no_packet_is_judged_by_anything_in_between(
    world: World, record_property: Callable[[str, object], None]
) -> None:
    before = world.log().count("ruleset applied")
    with watched(world, record_property) as dance:
        dance_on(world, dance, CHANGES)
    assert world.log().count("ruleset applied") - before > 50, "the changes did not reach the kernel one by one"


@pytest.mark.timeout(180)
def test_a_kernel_that_takes_long_for_every_transaction_opens_no_window(
    world: World, record_property: Callable[[str, object], None]
) -> None:
    world.kill_felix()
    before = world.log().count("ruleset applied")
    world.start_felix(ENDING, "--slow", "0.03")
    try:
        with watched(world, record_property) as dance:
            dance_on(world, dance, CHANGES_WHILE_SLOW)
        applied = world.log().count("ruleset applied") - before
        assert applied < CHANGES_WHILE_SLOW / 4, "what changes while the kernel is busy is applied at once"
    finally:
        world.kill_felix()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("ends", [ENDS[::2], ENDS[1::2]], ids=["even", "odd"])
def test_wherever_felix_ends_between_two_steps_what_it_leaves_opens_no_window(
    world: World, ends: tuple[str, ...], record_property: Callable[[str, object], None]
) -> None:
    world.kill_felix()
    world.start_felix()
    try:
        with watched(world, record_property) as dance:
            for step in ends:
                for number in (1, 4):
                    world.kill_felix()
                    world.start_felix(ENDING, "--end-at", f"{step}:{number}")
                    end_of(world, dance, step)
            world.start_felix()
    finally:
        world.kill_felix()


def dance_on(world: World, dance: Dance, changes: int) -> None:
    """So many changes. Felix may fall behind on a busy machine, but not for ever."""
    while dance.steps < changes:
        dance.step()
        if dance.steps % 200 == 0:
            world.settle()


def end_of(world: World, dance: Dance, step: str) -> None:
    """Dance until Felix has killed itself, and for a while without it."""
    process = world.felix
    assert process is not None

    def ended() -> bool:
        dance.step()
        return process.poll() is not None

    until(ended, f"Felix ended at {step}", deadline_s=30)
    assert process.returncode == -signal.SIGKILL, world.log()[-3000:]
    world.felix = None
    for _ in range(20):
        dance.step()


def test_a_window_would_be_seen(world: World) -> None:
    dance = Dance(world, 1)
    dance.begin()
    world.expect(4, *CONNECTION)
    stream = Stream(world, 4)
    stream.start()
    try:
        dance.open_window()
    finally:
        stream.stop()
    assert stream.passed()
    assert stream.lost()["allowed"]
