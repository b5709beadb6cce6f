from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

import pytest

from calico.bgp.endpointfeed import EndpointFeed
from calico.datastore.api import Op, SyncStatus, Update
from calico.datastore.memory import MemoryBackend
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY

ENDPOINTS = "/calico/resources/v3/projectcalico.org/workloadendpoints/"
MINE, OTHERS = ENDPOINTS + "ns/a-lab-w-eth0", ENDPOINTS + "ns/b-lab-w-eth0"


class Told:
    """A sink that replays what it is told."""

    def __init__(self) -> None:
        self.starts = 0
        self.status = SyncStatus.WAITING
        self.view: dict[str, bytes] = {}

    def on_start(self) -> None:
        self.starts += 1
        self.view.clear()

    def on_status(self, status: SyncStatus, reason: str = "") -> None:
        self.status = status

    def on_updates(self, updates: Sequence[Update], revision: int) -> None:
        for update in updates:
            assert "/b-lab" not in update.key
            if update.value is None:
                del self.view[update.key]
            else:
                self.view[update.key] = update.value


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def backend() -> MemoryBackend:
    made = MemoryBackend()
    await made.txn([Op(CLUSTER_INFO_KEY, b'{"spec":{"datastoreReady":true}}'), Op(MINE, b"1"), Op(OTHERS, b"1")])
    return made


@pytest.fixture
async def feed(backend: MemoryBackend, told: Told) -> AsyncIterator[EndpointFeed]:
    made = EndpointFeed(backend, "a")
    made.sink = told
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


async def test_nothing_is_followed_before_it_is_wanted(feed: EndpointFeed, told: Told) -> None:
    feed.want(False)
    for _ in range(50):
        await asyncio.sleep(0)
    assert (told.starts, told.view) == (0, {})


async def test_the_endpoints_of_the_host_alone_are_followed(
    feed: EndpointFeed, backend: MemoryBackend, told: Told
) -> None:
    feed.want(True)
    await _until(lambda: told.status is SyncStatus.IN_SYNC)
    assert told.view == {MINE: b"1"}
    await backend.txn([Op(OTHERS, b"2")])
    await backend.txn([Op(MINE, b"2")])
    await _until(lambda: told.view == {MINE: b"2"})
    await backend.txn([Op(OTHERS), Op(MINE)])
    await _until(lambda: told.view == {})


async def test_what_is_no_longer_wanted_is_not_followed_and_told_anew_later(
    feed: EndpointFeed, backend: MemoryBackend, told: Told
) -> None:
    feed.want(True)
    await _until(lambda: told.view == {MINE: b"1"})
    feed.want(False)
    for _ in range(50):
        await asyncio.sleep(0)
    await backend.txn([Op(MINE, b"2")])
    for _ in range(50):
        await asyncio.sleep(0)
    assert told.view == {MINE: b"1"}
    feed.want(True)
    await _until(lambda: told.view == {MINE: b"2"})
    assert told.starts == 2
