"""IPAM's records are followed while wanted, and nothing is applied before they are known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from test_admission import ONLY
from test_ownership import A, affinity, block

from calico.bgp.agentstate import AgentState
from calico.bgp.applier import Applier
from calico.bgp.bird.supervisor import Supervisor
from calico.bgp.endpointfeed import EndpointFeed
from calico.bgp.ownershipfeed import OwnershipFeed
from calico.bgp.planning.ownership import Owned
from calico.bgp.secretfiles import SecretFiles
from calico.bgp.servicefeed import ServiceFeed
from calico.datastore.api import Listing, Op, SyncStatus
from calico.datastore.memory import MemoryBackend
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY
from calico.errors import InvalidInput


class Refusing(MemoryBackend):
    """A datastore that does not let its user read IPAM's records."""

    refuses = True

    async def list(self, prefix: str, *, revision: int = 0, created_after: int = 0) -> Listing:
        if self.refuses and prefix.startswith("/calico/ipam/"):
            raise InvalidInput("the user lacks the right")
        return await super().list(prefix, revision=revision, created_after=created_after)


@pytest.fixture
async def backend() -> Refusing:
    made = Refusing()
    records = [affinity("a", A), block(A, "host:a", {5: ("b", "")})]
    await made.txn([Op(CLUSTER_INFO_KEY, b'{"spec":{"datastoreReady":true}}'), *(Op(r.key, r.value) for r in records)])
    return made


@pytest.fixture
async def feed(backend: Refusing) -> AsyncIterator[OwnershipFeed]:
    made = OwnershipFeed(backend, "r1")
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def test_what_is_whose_is_followed_while_wanted(feed: OwnershipFeed, backend: Refusing) -> None:
    backend.refuses = False
    await asyncio.sleep(0)
    assert not feed.known
    feed.want(True)
    await _until(lambda: feed.known)
    assert feed.owned == {"a": Owned(blocks=(A,), lent=("10.65.1.5/32",)), "b": Owned(borrowed=("10.65.1.5/32",))}
    calls: list[None] = []
    feed.on_change = lambda: calls.append(None)
    at_home = block(A, "host:a", {5: ("b", ""), 6: ("a", "")})
    revision = await backend.txn([Op(at_home.key, at_home.value)])
    back = block(A, "host:a", {6: ("a", "")})
    assert await backend.txn([Op(back.key, back.value)]) > revision
    await _until(lambda: feed.owned == {"a": Owned(blocks=(A,))})
    assert len(calls) == 1, "an allocation at home is told to nobody"
    feed.want(False)
    await _until(lambda: not feed.known)
    assert feed.owned == {}
    feed.want(True)
    await _until(lambda: feed.owned == {"a": Owned(blocks=(A,))})


async def test_what_was_known_stays_while_the_datastore_is_away(feed: OwnershipFeed, backend: Refusing) -> None:
    backend.refuses = False
    feed.want(True)
    await _until(lambda: feed.known)
    backend.go_down()
    for _ in range(50):
        await asyncio.sleep(0)
    assert feed.known
    assert feed.owned["a"].blocks == (A,)
    backend.come_up()
    back = block(A, "host:b")
    await backend.txn([Op(back.key, back.value)])
    await _until(lambda: feed.owned == {})
    assert feed.known


async def test_until_it_is_known_nothing_is_applied_and_the_reason_is_named(
    feed: OwnershipFeed, backend: Refusing, world: object, tmp_path: Path
) -> None:
    world.node("r1", "10.0.0.1", routeReflectorClusterID="224.0.0.1").node("b", "10.0.0.2")  # type: ignore[attr-defined]
    world.config(annotations=ONLY)  # type: ignore[attr-defined]
    state = AgentState(node="r1", pid=1, version="")
    supervisor = Supervisor(tmp_path, "bird")
    endpoints, services = EndpointFeed(backend, "r1"), ServiceFeed(backend, "r1")
    applier = Applier("r1", supervisor, state, "pools", SecretFiles(tmp_path), endpoints, services, feed)
    running = asyncio.create_task(applier.run())
    applier.on_updates(world.updates, 5)  # type: ignore[attr-defined]
    applier.on_status(SyncStatus.IN_SYNC)

    def named() -> bool:
        return any(p.code == "bgp-owners-unknown" and "lacks the right" in p.message for p in state.plan_problems)

    await _until(named)
    assert not state.in_sync
    assert not (tmp_path / "bird.conf").exists()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    backend.refuses = False
    await _until(lambda: feed.known and not feed.trouble)
