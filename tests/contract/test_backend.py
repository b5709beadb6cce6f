from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from calico.datastore.api import Compacted, CompareFailed, FutureRevision, Op, Query, Update, WatchBatch
from calico.datastore.etcd.backend import EtcdBackend
from calico.datastore.memory import MemoryBackend
from calico.errors import Conflict, InvalidInput, NotFound

Store = MemoryBackend | EtcdBackend


async def put(store: Store, key: str, value: bytes = b"v") -> int:
    return await store.txn([Op(key, value)])


async def collect(stream: AsyncGenerator[WatchBatch, None], count: int) -> list[Update]:
    """The first ``count`` changes of a watch."""
    updates: list[Update] = []
    async with asyncio.timeout(10), aclosing(stream):
        async for batch in stream:
            updates.extend(batch.updates)
            if batch.updates:
                assert batch.revision == batch.updates[-1].mod_revision
            if len(updates) >= count:
                return updates
    raise AssertionError("the watch ended")


async def test_an_absent_key_reads_as_none(backend: Store) -> None:
    assert await backend.get("/a") is None


async def test_a_key_keeps_its_create_revision_and_counts_versions(backend: Store) -> None:
    first = await put(backend, "/a", b"1")
    second = await put(backend, "/a", b"2")
    kv = await backend.get("/a")
    assert kv is not None
    assert (kv.value, kv.create_revision, kv.mod_revision, kv.version) == (b"2", first, second, 2)
    assert second == first + 1


async def test_a_key_made_again_after_deletion_starts_at_version_one(backend: Store) -> None:
    await put(backend, "/a")
    await backend.txn([Op("/a")])
    again = await put(backend, "/a")
    kv = await backend.get("/a")
    assert kv is not None
    assert (kv.create_revision, kv.version) == (again, 1)


async def test_an_empty_value_is_not_an_absent_key(backend: Store) -> None:
    await put(backend, "/a", b"")
    kv = await backend.get("/a")
    assert kv is not None
    assert kv.value == b""


async def test_keys_and_prefixes_are_read_together_as_of_one_revision(backend: Store) -> None:
    for key in ("/a/1", "/a/2", "/b"):
        await put(backend, key, key.encode())
    answers = await backend.read([Query("/b"), Query("/a/", prefix=True), Query("/a/"), Query("/a/2")])
    assert [[kv.key for kv in found] for found in answers] == [["/b"], ["/a/1", "/a/2"], [], ["/a/2"]]
    assert answers[0][0] == await backend.get("/b")


async def test_the_past_can_be_read(backend: Store) -> None:
    first = await put(backend, "/a", b"1")
    await backend.txn([Op("/a")])
    past = await backend.get("/a", revision=first)
    assert past is not None
    assert past.value == b"1"
    assert await backend.get("/a", revision=first - 1) is None
    assert [kv.value for kv in (await backend.list("/a", revision=first)).items] == [b"1"]


async def test_the_future_cannot_be_read(backend: Store) -> None:
    revision = await put(backend, "/a")
    with pytest.raises(FutureRevision):
        await backend.get("/a", revision=revision + 1)
    with pytest.raises(FutureRevision):
        await backend.list("/", revision=revision + 1)


async def test_a_listing_is_sorted_bounded_by_the_prefix_and_tells_its_revision(backend: Store) -> None:
    for key in ("/p/b", "/p0", "/p/a", "/p", "/p/a/x"):
        await put(backend, key)
    listing = await backend.list("/p/")
    assert [kv.key for kv in listing.items] == ["/p/a", "/p/a/x", "/p/b"]
    assert (listing.revision, listing.cluster_id) == await backend.revision()


async def test_a_listing_of_what_is_new_leaves_out_what_was_only_changed(backend: Store) -> None:
    for number in range(700):
        await put(backend, f"/p/{number:04}")
    last = await put(backend, "/p/old")
    await put(backend, "/p/0003", b"changed")
    await put(backend, "/p/0400/new")
    await backend.txn([Op("/p/old")])
    await put(backend, "/p/old", b"again")
    found = await backend.list("/p/", created_after=last)
    assert [kv.key for kv in found.items] == ["/p/0400/new", "/p/old"]
    assert (found.revision, found.cluster_id) == await backend.revision()
    assert (await backend.list("/p/", created_after=found.revision)).items == ()


async def test_a_listing_over_many_pages_is_whole(backend: Store) -> None:
    keys = [f"/p/{number:05}" for number in range(1201)]
    for start in range(0, len(keys), 100):
        await backend.txn([Op(key, key.encode()) for key in keys[start : start + 100]])
    listing = await backend.list("/p/")
    assert [(kv.key, kv.value) for kv in listing.items] == [(key, key.encode()) for key in keys]


async def test_a_transaction_is_one_revision(backend: Store) -> None:
    before, _ = await backend.revision()
    after = await backend.txn([Op("/a", b"1"), Op("/b", b"2")])
    assert after == before + 1
    assert {kv.mod_revision for kv in (await backend.list("/")).items} == {after}


async def test_a_failed_expectation_changes_nothing_and_names_the_key(backend: Store) -> None:
    revision = await put(backend, "/a", b"1")
    with pytest.raises(Conflict, match="/a is at revision") as failure:
        await backend.txn([Op("/b", b"new"), Op("/a", b"2", expect=revision - 1)])
    assert isinstance(failure.value, CompareFailed)
    current = failure.value.current["/a"]
    assert current is not None
    assert (current.value, current.mod_revision) == (b"1", revision)
    assert await backend.get("/b") is None
    assert (await backend.revision())[0] == revision


async def test_expecting_zero_means_that_the_key_must_not_exist(backend: Store) -> None:
    await backend.txn([Op("/a", b"1", expect=0)])
    with pytest.raises(CompareFailed, match="expected absent"):
        await backend.txn([Op("/a", b"2", expect=0)])
    revision = await backend.txn([Op("/a")])
    with pytest.raises(CompareFailed, match="/a is absent"):
        await backend.txn([Op("/a", b"2", expect=revision - 1)])


async def test_a_matching_expectation_lets_replace_and_delete(backend: Store) -> None:
    first = await put(backend, "/a")
    second = await backend.txn([Op("/a", b"2", expect=first)])
    await backend.txn([Op("/a", expect=second)])
    assert await backend.get("/a") is None


async def test_a_check_only_operation_guards_and_does_not_write(backend: Store) -> None:
    guard = await put(backend, "/guard", b"g")
    await backend.txn([Op("/a", b"1"), Op("/guard", expect=guard, check_only=True)])
    kv = await backend.get("/guard")
    assert kv is not None
    assert kv.mod_revision == guard
    with pytest.raises(CompareFailed):
        await backend.txn([Op("/a", b"2"), Op("/guard", expect=guard + 9, check_only=True)])


async def test_deleting_an_absent_key_is_no_revision(backend: Store) -> None:
    revision = await put(backend, "/a")
    assert await backend.txn([Op("/absent")]) == revision


async def test_what_etcd_would_refuse_is_invalid_input(backend: Store) -> None:
    with pytest.raises(InvalidInput, match="129 operations"):
        await backend.txn([Op(f"/k{number}", b"") for number in range(129)])
    with pytest.raises(InvalidInput, match="twice"):
        await backend.txn([Op("/a", b"1"), Op("/a", b"2")])
    with pytest.raises(InvalidInput, match="too large"):
        await backend.txn([Op("/big", bytes(1_600_000))])


async def test_the_largest_transaction_is_taken(backend: Store) -> None:
    await backend.txn([Op(f"/k{number}", b"", expect=0) for number in range(128)])
    await put(backend, "/big", bytes(1_500_000))
    assert len((await backend.list("/k")).items) == 128


async def test_a_watch_shows_changes_from_its_revision_on_in_order(backend: Store) -> None:
    await put(backend, "/p/a", b"old")
    start = await put(backend, "/p/a", b"1")
    await put(backend, "/other", b"x")
    await backend.txn([Op("/p/a", b"2"), Op("/p/b", b"3")])
    await backend.txn([Op("/p/a")])
    assert await collect(backend.watch("/p/", start), 4) == [
        Update("/p/a", b"1", start),
        Update("/p/a", b"2", start + 2),
        Update("/p/b", b"3", start + 2),
        Update("/p/a", None, start + 3),
    ]


async def test_a_watch_wakes_up_for_what_happens_later(backend: Store) -> None:
    revision, _ = await backend.revision()
    waiting = asyncio.create_task(collect(backend.watch("/p/", revision + 1), 1))
    await asyncio.sleep(0)
    await put(backend, "/elsewhere")
    written = await put(backend, "/p/a", b"1")
    assert await waiting == [Update("/p/a", b"1", written)]


async def test_a_transaction_arrives_in_one_batch(backend: Store) -> None:
    revision = await backend.txn([Op(f"/p/{number}", bytes(10_000)) for number in range(100)])
    async with asyncio.timeout(10), aclosing(backend.watch("/p/", revision)) as stream:
        async for batch in stream:
            if batch.updates:
                assert (len(batch.updates), batch.revision) == (100, revision)
                break


async def test_many_revisions_of_big_transactions_are_all_seen(backend: Store) -> None:
    start, _ = await backend.revision()
    for number in range(40):
        await backend.txn([Op(f"/p/{key}", bytes([number]) * 2_000) for key in range(100)])
    updates = await collect(backend.watch("/p/", start + 1), 4_000)
    assert [update.mod_revision for update in updates] == [start + 1 + n // 100 for n in range(4_000)]


async def test_compacted_history_cannot_be_read_or_watched(backend: Store) -> None:
    first = await put(backend, "/a", b"1")
    second = await put(backend, "/a", b"2")
    await backend.compact(second)
    with pytest.raises(Compacted):
        await backend.get("/a", revision=first)
    with pytest.raises(Compacted):
        await backend.list("/", revision=first)
    with pytest.raises(Compacted):
        await collect(backend.watch("/", first), 1)
    with pytest.raises(Compacted):
        await backend.compact(second)
    kv = await backend.get("/a", revision=second)
    assert kv is not None
    assert kv.value == b"2"


async def test_a_watch_after_the_compaction_point_works(backend: Store) -> None:
    await put(backend, "/a", b"1")
    second = await put(backend, "/a", b"2")
    await backend.compact(second)
    third = await put(backend, "/a", b"3")
    assert await collect(backend.watch("/", second + 1), 1) == [Update("/a", b"3", third)]


async def test_a_watch_from_the_future_skips_what_happens_before(backend: Store) -> None:
    revision, _ = await backend.revision()
    waiting = asyncio.create_task(collect(backend.watch("/", revision + 3), 1))
    await asyncio.sleep(0.05)
    for value in (b"1", b"2", b"3"):
        last = await put(backend, "/a", value)
    assert await waiting == [Update("/a", b"3", last)]


async def test_deleting_a_prefix_is_one_revision(backend: Store) -> None:
    await backend.txn([Op("/p/a", b""), Op("/p/b", b""), Op("/q", b"")])
    before, _ = await backend.revision()
    assert await backend.delete_prefix("/p/") == 2
    assert (await backend.revision())[0] == before + 1
    assert await backend.delete_prefix("/p/") == 0
    assert (await backend.revision())[0] == before + 1
    assert [kv.key for kv in (await backend.list("/")).items] == ["/q"]


async def test_revoking_a_lease_deletes_its_keys_in_one_revision(backend: Store) -> None:
    lease = await backend.grant(60)
    await backend.txn([Op("/a", b"", lease=lease), Op("/b", b"", lease=lease)])
    written = await put(backend, "/c")
    await backend.revoke(lease)
    assert [kv.key for kv in (await backend.list("/")).items] == ["/c"]
    assert await collect(backend.watch("/", written + 1), 2) == [
        Update("/a", None, written + 1),
        Update("/b", None, written + 1),
    ]


async def test_a_key_written_again_is_on_the_new_lease_only(backend: Store) -> None:
    old, new = await backend.grant(60), await backend.grant(60)
    assert old != new
    await backend.txn([Op("/a", b"", lease=old), Op("/b", b"", lease=old)])
    await backend.txn([Op("/a", b"", lease=new)])
    await put(backend, "/b")
    await backend.revoke(old)
    kept = {kv.key: kv.lease for kv in (await backend.list("/")).items}
    assert kept == {"/a": new, "/b": 0}


async def test_a_lease_that_is_gone_cannot_be_used_and_may_be_revoked_again(backend: Store) -> None:
    lease = await backend.grant(60)
    assert await backend.keepalive(lease) == 60
    await backend.revoke(lease)
    await backend.revoke(lease)
    with pytest.raises(NotFound):
        await backend.keepalive(lease)
    with pytest.raises(NotFound):
        await backend.txn([Op("/a", b"", lease=lease)])
