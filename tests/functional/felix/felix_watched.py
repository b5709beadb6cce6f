"""A stream of packets over changes without end: what must pass passes and what must not does not, at every moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from felix_dance import Dance
from felix_stream import CONNECTION, Stream
from felix_world import World

__all__ = ["watched"]


@contextmanager
def watched(
    world: World, record_property: Callable[[str, object], None], seed: int = 1, *, on_their_way: int = 0
) -> Iterator[Dance]:
    """A dance, and a stream of both families that is judged at its end. ``on_their_way``: how many first packets of
    connections may be dropped because a table was replaced while they passed it; none of an established one ever."""
    dance = Dance(world, seed)
    dance.begin()
    for family in (4, 6):
        world.expect(family, *CONNECTION, "a>b udp:8000", "!a>b udp:9999")
    stream = Stream(world, 4, 6)
    stream.start()
    begin = time.monotonic()
    try:
        yield dance
        took = time.monotonic() - begin
        world.settle()
    finally:
        stream.stop()
    rate = stream.count / stream.seconds
    changes = f"{dance.steps} changes, {dance.steps / took:.0f}/s"
    record_property("counted", f"{changes}; {stream.count} packets, {rate:.0f}/s")
    passed = [round(stream.sent["forbidden"][tag] - begin, 3) for tag in sorted(stream.passed())]
    assert not passed, f"{len(passed)} forbidden packets passed, so many seconds after the beginning: {passed[:20]}"
    lost = stream.lost()
    assert lost.pop("allowed") <= on_their_way, stream.lost()
    assert not any(lost.values()), stream.lost()
