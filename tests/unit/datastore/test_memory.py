from __future__ import annotations

from contextlib import aclosing

import pytest

from calico.datastore.api import Op, Update
from calico.datastore.memory import MemoryBackend
from calico.errors import NotFound, Transient


async def test_a_lease_ends_when_its_time_has_passed_and_not_before() -> None:
    backend = MemoryBackend()
    lease = await backend.grant(10)
    await backend.txn([Op("/a", b"1", lease=lease)])
    backend.advance(9.5)
    assert await backend.keepalive(lease) == 10
    backend.advance(9.5)
    assert await backend.get("/a") is not None
    backend.advance(0.5)
    assert await backend.get("/a") is None
    with pytest.raises(NotFound):
        await backend.keepalive(lease)


async def test_the_end_of_a_lease_is_one_revision_that_watches_see() -> None:
    backend = MemoryBackend()
    lease = await backend.grant(10)
    last = await backend.txn([Op("/a", b"1", lease=lease), Op("/b", b"1", lease=lease)])
    backend.advance(10)
    async with aclosing(backend.watch("/", last + 1)) as stream:
        batches = [await anext(stream), await anext(stream)]
    assert batches[1].updates == (Update("/a", None, last + 1), Update("/b", None, last + 1))


async def test_a_store_that_is_down_refuses_everything_and_ends_watches() -> None:
    backend = MemoryBackend()
    async with aclosing(backend.watch("/", 1)) as stream:
        await anext(stream)
        backend.go_down("power cut")
        with pytest.raises(Transient, match="power cut"):
            await anext(stream)
    with pytest.raises(Transient, match="power cut"):
        await backend.revision()
    backend.apply([Op("/a", b"1")])  # others may still write
    backend.come_up()
    assert await backend.get("/a") is not None


async def test_a_broken_stream_ends_open_watches_only() -> None:
    backend = MemoryBackend()
    async with aclosing(backend.watch("/", 1)) as stream:
        await anext(stream)
        backend.break_streams()
        with pytest.raises(Transient):
            await anext(stream)
    async with aclosing(backend.watch("/", 1)) as stream:
        assert (await anext(stream)).updates == ()


async def test_a_restored_store_still_tells_its_history() -> None:
    """As etcd 3.4.23 does: a watch from before the backup replays what led to it, and nothing of what came later."""
    backend = MemoryBackend()
    for value in (b"1", b"2", None):
        backend.apply([Op("/k", value)])
    backup = backend.snapshot()
    backend.apply([Op("/k", b"later")])
    backend.restore(backup)
    assert await backend.get("/k") is None
    assert (await backend.get("/k", revision=3)).value == b"2"  # type: ignore[union-attr]
    stream = backend.watch("/k", 2)
    assert (await anext(stream)).updates == ()
    assert [update.value for update in (await anext(stream)).updates] == [b"1", b"2", None]
    await stream.aclose()


async def test_a_restored_store_has_the_backups_keys_revision_and_ids() -> None:
    backend = MemoryBackend(cluster_id=7)
    await backend.txn([Op("/a", b"1")])
    backup = backend.snapshot()
    await backend.txn([Op("/a", b"2"), Op("/b", b"2")])
    backend.restore(backup)
    assert backend.snapshot() == backup
    assert await backend.revision() == (backup.revision, 7)
    kv = await backend.get("/a")
    assert kv is not None
    assert (kv.value, kv.version) == (b"1", 1)


async def test_another_cluster_is_empty_and_says_so() -> None:
    backend = MemoryBackend(cluster_id=7)
    await backend.txn([Op("/a", b"1")])
    backend.become_other(8)
    assert (await backend.list("/")).items == ()
    assert await backend.revision() == (1, 8)
