"""A watch tells every change, whatever happens to the store in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from calico.client.aio import AsyncClient
from calico.client.watching import Event
from calico.datastore.api import Op
from calico.datastore.memory import MemoryBackend
from calico.model.meta import Metadata
from calico.model.policy import GlobalNetworkSet, NetworkSetSpec

PREFIX = "/calico/resources/v3/projectcalico.org/globalnetworksets/"


def net_set(name: str, **labels: str) -> GlobalNetworkSet:
    return GlobalNetworkSet(metadata=Metadata(name=name, labels=labels), spec=NetworkSetSpec())


class Watch:
    """Events as ``TYPE name``, read one at a time."""

    def __init__(self, events: AsyncIterator[Event[Any]]) -> None:
        self._events = events

    async def told(self, count: int) -> list[str]:
        async with asyncio.timeout(30):
            events = [await anext(self._events) for _ in range(count)]
        return [f"{event.type} {event.resource.metadata.name}" for event in events]


@asynccontextmanager
async def watching(client: AsyncClient, selector: str = "") -> AsyncIterator[Watch]:
    async with aclosing(client.global_network_sets.watch(selector=selector)) as events:
        yield Watch(events)


async def test_first_what_there_is_then_every_change() -> None:
    client = AsyncClient(MemoryBackend())
    sets = client.global_network_sets
    await sets.create(net_set("one"))
    async with watching(client) as watch:
        assert await watch.told(1) == ["ADDED one"]
        await sets.create(net_set("two"))
        await sets.label("one", {"a": "b"})
        await sets.delete("two")
        assert await watch.told(3) == ["ADDED two", "MODIFIED one", "DELETED two"]


async def test_a_broken_stream_loses_nothing() -> None:
    backend = MemoryBackend()
    client = AsyncClient(backend)
    await client.global_network_sets.create(net_set("one"))
    async with watching(client) as watch:
        assert await watch.told(1) == ["ADDED one"]
        backend.break_streams()
        await client.global_network_sets.create(net_set("two"))
        assert await watch.told(1) == ["ADDED two"]


async def test_after_a_compaction_the_difference_is_told() -> None:
    backend = MemoryBackend()
    client = AsyncClient(backend)
    sets = client.global_network_sets
    for name in ("one", "two", "three"):
        await sets.create(net_set(name))
    async with watching(client) as watch:
        assert await watch.told(3) == ["ADDED one", "ADDED three", "ADDED two"]
        backend.go_down()
        backend.apply([Op(PREFIX + "one")])
        backend.apply([Op(PREFIX + "four", b'{"metadata":{},"spec":{}}')])
        backend.apply([Op(PREFIX + "two", b'{"metadata":{"labels":{"a":"b"}},"spec":{}}')])
        backend.forget_before(await _revision(backend))
        backend.come_up()
        assert sorted(await watch.told(3)) == ["ADDED four", "DELETED one", "MODIFIED two"]


async def test_with_a_selector_what_ceases_to_match_is_deleted() -> None:
    client = AsyncClient(MemoryBackend())
    sets = client.global_network_sets
    await sets.create(net_set("one", zone="a"))
    await sets.create(net_set("other"))
    async with watching(client, "zone == 'a'") as watch:
        assert await watch.told(1) == ["ADDED one"]
        await sets.label("one", {"zone": "b"}, overwrite=True)
        await sets.label("one", {"zone": "a"}, overwrite=True)
        await sets.label("one", {"rack": "7"})
        await sets.delete("other")
        await sets.delete("one")
        assert await watch.told(4) == ["DELETED one", "ADDED one", "MODIFIED one", "DELETED one"]


async def test_what_becomes_unreadable_is_gone_and_named() -> None:
    backend = MemoryBackend()
    client = AsyncClient(backend)
    damaged: list[str] = []
    client.store.on_damaged = lambda key, _: damaged.append(key)
    await client.global_network_sets.create(net_set("one"))
    async with watching(client) as watch:
        assert await watch.told(1) == ["ADDED one"]
        backend.apply([Op(PREFIX + "one", b"{")])
        assert await watch.told(1) == ["DELETED one"]
    assert damaged == [PREFIX + "one"]


async def _revision(backend: MemoryBackend) -> int:
    return backend.snapshot().revision
