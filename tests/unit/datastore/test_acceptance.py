"""A held view is followed when an operator wrote into the store, after it was held, that this very store is right."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from calico.datastore.api import KeyValue, Op, SyncStatus, Update
from calico.datastore.memory import MemoryBackend
from calico.datastore.sync.acceptance import accept_key, accept_keys, write_acceptance
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY
from calico.datastore.sync.syncer import Syncer
from calico.errors import InvalidInput
from calico.model.keys import RESOURCE_PREFIX

IN_SYNC, HELD = SyncStatus.IN_SYNC, SyncStatus.HELD


class Sink:
    def __init__(self) -> None:
        self.view: dict[str, bytes | None] = {}
        self.status = SyncStatus.WAITING

    def on_status(self, status: SyncStatus, reason: str = "") -> None:
        self.status = status

    def on_updates(self, updates: Sequence[Update], revision: int) -> None:
        assert revision >= 0
        for update in updates:
            self.view[update.key] = update.value
        self.view = {key: value for key, value in self.view.items() if value is not None}


def info(guid: str, ready: str = "true") -> bytes:
    return f'{{"spec":{{"clusterGUID":"{guid}","datastoreReady":{ready}}}}}'.encode()


def filled(guid: str = "g1", count: int = 30) -> MemoryBackend:
    backend = MemoryBackend()
    fill(backend, guid, count)
    return backend


def fill(backend: MemoryBackend, guid: str = "g1", count: int = 30) -> None:
    nodes = (Op(f"{RESOURCE_PREFIX}nodes/n{number}", b"1") for number in range(count))
    backend.apply([Op(CLUSTER_INFO_KEY, info(guid)), *nodes])


async def steps(count: int = 300) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@asynccontextmanager
async def following(backend: MemoryBackend, host: str = "h1") -> AsyncIterator[Sink]:
    async def no_time(_: float) -> None:
        await asyncio.sleep(0)

    sink = Sink()
    syncer = Syncer(backend, [RESOURCE_PREFIX], sink, require_ready=True, accept_keys=accept_keys(host), sleep=no_time)
    task = asyncio.create_task(syncer.run())
    await steps()
    assert sink.status is IN_SYNC
    try:
        yield sink
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def accept(backend: MemoryBackend, host: str = "") -> None:
    await write_acceptance(backend, host, by="somebody", time="2026-01-01T00:00:00Z")


@pytest.mark.parametrize(("host", "status"), [("", IN_SYNC), ("h1", IN_SYNC), ("h2", HELD)])
async def test_an_acceptance_is_for_all_hosts_or_for_one(host: str, status: SyncStatus) -> None:
    backend = filled()
    async with following(backend) as sink:
        backend.become_other(99)
        fill(backend, "g2", 3)
        await steps()
        assert sink.status is HELD
        await accept(backend, host)
        await steps()
        assert (sink.status, len(sink.view)) == (status, 4 if status is IN_SYNC else 31)


async def test_an_acceptance_that_a_backup_brings_back_accepts_nothing() -> None:
    backend = filled(count=5)
    await accept(backend)
    backup = backend.snapshot()
    for number in range(40):
        backend.apply([Op(f"{RESOURCE_PREFIX}nodes/m{number}", b"1")])
    async with following(backend) as sink:
        backend.restore(backup)
        await steps()
        assert (sink.status, len(sink.view)) == (HELD, 46)
        await accept(backend)
        await steps()
        assert (sink.status, len(sink.view)) == (IN_SYNC, 6)


async def test_an_acceptance_names_one_store() -> None:
    backend = filled()
    async with following(backend) as sink:
        backend.become_other(99)
        fill(backend, "g2", 3)
        await steps()
        value = b'{"clusterId":"63","clusterGUID":"g3"}'
        for wrong in (value, b'{"clusterId":"64","clusterGUID":"g2"}', b"{", b"[" * 9000, b"\xff"):
            backend.apply([Op(accept_key(""), wrong)])
            await steps()
            assert sink.status is HELD
        backend.apply([Op(accept_key(""), value.replace(b"g3", b"g2"))])
        await steps()
        assert sink.status is IN_SYNC


async def test_who_may_not_read_acceptances_goes_on_holding() -> None:
    class Refusing(MemoryBackend):
        async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
            if key == accept_key(""):
                raise InvalidInput("permission denied")
            return await super().get(key, revision=revision)

    backend = Refusing()
    fill(backend)
    async with following(backend) as sink:
        backend.become_other(99)
        fill(backend, "g2", 3)
        await steps()
        await accept(backend)
        await steps()
        assert sink.status is HELD
        await accept(backend, "h1")
        await steps()
        assert sink.status is IN_SYNC


@pytest.mark.parametrize(("stored", "remedy"), [(None, "datastore init"), (info("g", "false"), "datastore unlock")])
async def test_a_store_that_nobody_could_follow_is_not_accepted(stored: bytes | None, remedy: str) -> None:
    backend = MemoryBackend()
    if stored is not None:
        backend.apply([Op(CLUSTER_INFO_KEY, stored)])
    with pytest.raises(InvalidInput, match=remedy):
        await accept(backend)
    assert await backend.get(accept_key("")) is None
