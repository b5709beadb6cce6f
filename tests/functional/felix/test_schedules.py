"""Whatever happens to Felix, in whatever order: no packet is judged wrongly, and in the end the kernel is as it should.

``SEED=N COUNT=M make schedules`` runs M schedules from the Nth on. A failure names its seed.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable

import pytest
from felix_schedule import Schedule, draw, kernel_tokens
from felix_watched import watched
from felix_world import World

COUNT = int(os.environ.get("COUNT") or 1)
REPAIR = "put right what others changed"
FIRST = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))

pytestmark = pytest.mark.flaky(reruns=0)  # a leak that is seen once is one


def test_a_seed_draws_the_same_schedule_again() -> None:
    assert [draw(seed) for seed in range(100)] == [draw(seed) for seed in range(100)]
    drawn = Counter(event.what for seed in range(100) for event in draw(seed))
    assert len(drawn) == 10
    assert min(drawn.values()) > 20


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", range(COUNT))
def test_a_random_schedule_opens_no_window_and_ends_as_the_datastore_says(
    world: World, number: int, record_property: Callable[[str, object], None]
) -> None:
    seed = FIRST + number
    events = draw(seed)
    told = f"SEED={seed} COUNT=1 make schedules: {', '.join(f'{e.what} {e.detail} {e.lasts_s}s' for e in events)}"
    print(told)
    record_property("counted", told)
    repairs = world.log().count(REPAIR)
    with watched(world, record_property, seed) as dance:
        Schedule(world, dance).run(events)
    if "drift" not in {event.what for event in events}:
        assert world.log().count(REPAIR) == repairs, f"{told}: Felix took its own doing for somebody else's"
    after = kernel_tokens(world)
    world.kill_felix()
    world.nft("delete table inet calico")
    for family in (4, 6):
        world.show("h", f"-{family} route flush proto 80")
    world.start_felix()
    world.settle()
    fresh = kernel_tokens(world)
    wrong = {what: (Counter(after[what]) - Counter(fresh[what]), Counter(fresh[what]) - Counter(after[what]))
             for what in fresh if after[what] != fresh[what]}  # fmt: skip
    assert not wrong, f"{told}: what it had too much, and what it lacked: {wrong}"
