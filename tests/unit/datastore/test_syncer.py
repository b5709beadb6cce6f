from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from calico.datastore.api import Listing, Op, SyncStatus, Update, WatchBatch
from calico.datastore.memory import MemoryBackend, Snapshot
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY
from calico.datastore.sync.states import TRANSITIONS, Happening, next_status
from calico.datastore.sync.syncer import Syncer
from calico.errors import InvalidInput

RESOURCES = "/calico/resources/v3/projectcalico.org/"
BLOCKS = "/calico/ipam/v2/host/node-1/"
PREFIXES = (RESOURCES, BLOCKS)
WAITING, RESYNCING, IN_SYNC = SyncStatus.WAITING, SyncStatus.RESYNCING, SyncStatus.IN_SYNC
LOCKED, HELD = SyncStatus.LOCKED, SyncStatus.HELD


class Replay:
    """A sink that replays what it is told and refuses redundant news."""

    def __init__(self) -> None:
        self.view: dict[str, bytes] = {}
        self.statuses: list[tuple[SyncStatus, str]] = []
        self.revision = 0
        self.calls = 0
        self.changes = 0

    def on_status(self, status: SyncStatus, reason: str = "") -> None:
        assert (status, reason) not in self.statuses[-1:]
        self.statuses.append((status, reason))

    def on_updates(self, updates: Sequence[Update], revision: int) -> None:
        self.calls += 1
        self.changes += len(updates)
        self.revision = revision
        for update in updates:
            if update.value is None:
                del self.view[update.key]
            else:
                assert self.view.get(update.key) != update.value
                self.view[update.key] = update.value

    @property
    def last(self) -> SyncStatus:
        return self.statuses[-1][0]

    @property
    def reason(self) -> str:
        return self.statuses[-1][1]

    def count(self, status: SyncStatus) -> int:
        return sum(one is status for one, _ in self.statuses)


async def no_time(_: float) -> None:
    await asyncio.sleep(0)


@asynccontextmanager
async def syncing(
    backend: MemoryBackend, sink: Replay, *, prefixes: Sequence[str] = PREFIXES, require_ready: bool = False
) -> AsyncIterator[Syncer]:
    syncer = Syncer(backend, prefixes, sink, require_ready=require_ready, sleep=no_time, clock=lambda: 7.0)
    task = asyncio.create_task(syncer.run())
    try:
        yield syncer
    finally:
        task.cancel()
        assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)


async def steps(count: int = 200) -> None:
    """Let every task run for a while."""
    for _ in range(count):
        await asyncio.sleep(0)


def store_view(backend: MemoryBackend, prefixes: Sequence[str] = PREFIXES) -> dict[str, bytes]:
    return {kv.key: kv.value for kv in backend.snapshot().items if kv.key.startswith(tuple(prefixes))}


def put(backend: MemoryBackend, key: str, value: bytes) -> int:
    return backend.apply([Op(key, value)])


def info(guid: str = "g1", *, ready: bool = True) -> bytes:
    return msgspec.json.encode({"spec": {"clusterGUID": guid, "datastoreReady": ready}})


def ready_store(keys: int = 30) -> MemoryBackend:
    """A store that is initialised and has ``keys`` nodes."""
    backend = MemoryBackend()
    put(backend, CLUSTER_INFO_KEY, info())
    for number in range(keys):
        put(backend, f"{RESOURCES}nodes/n{number}", b"1")
    return backend


# ---- any history

KEYS = [*(f"{RESOURCES}nodes/n{number}" for number in range(4)), f"{BLOCKS}b0", f"{BLOCKS}b1", "/elsewhere"]
keys = st.sampled_from(KEYS)
small = st.integers(0, 2)
happenings = st.one_of(
    st.tuples(st.just("put"), keys, small),
    st.tuples(st.just("put"), keys, small),
    st.tuples(st.just("delete"), keys, small),
    st.tuples(st.just("pair"), keys, keys),
    st.tuples(st.just("run"), st.integers(1, 40), small),
    st.tuples(st.just("run"), st.integers(1, 40), small),
    st.tuples(st.just("break"), small, small),
    st.tuples(st.just("down"), small, small),
    st.tuples(st.just("up"), small, small),
    st.tuples(st.just("compact"), small, small),
    st.tuples(st.just("backup"), small, small),
    st.tuples(st.just("restore"), small, small),
    st.tuples(st.just("other"), st.integers(1, 3), small),
)


class History:
    """Does to a store what the history says. Each revision has a content of its own, as in life."""

    def __init__(self) -> None:
        self.backend = MemoryBackend()
        self.backups: list[Snapshot] = [self.backend.snapshot()]
        self.serial = 0

    async def happen(self, what: str, one: object, two: object) -> None:
        self.serial += 1
        backend = self.backend
        if what in ("put", "delete", "pair"):
            self.write(what, str(one), two)
        elif what == "run":
            await steps(int(str(one)))
        elif what == "compact":
            if backend._revision > backend._compacted:
                backend.forget_before(backend._revision)
        elif what == "backup":
            self.backups.append(backend.snapshot())
        elif what == "restore":
            backend.restore(self.backups[-1])
        elif what == "other":
            backend.become_other(int(str(one)))
        else:
            {"break": backend.break_streams, "down": backend.go_down, "up": backend.come_up}[what]()

    def write(self, what: str, key: str, more: object) -> None:
        mark = Op(f"{RESOURCES}nodes/mark", str(self.serial).encode())
        if what == "put":
            self.backend.apply([Op(key, str(more).encode()), mark])
        elif what == "delete":
            self.backend.apply([Op(key), mark])
        elif key != more:
            self.backend.apply([Op(key, b"p"), Op(str(more)), mark])


@settings(max_examples=300, deadline=None)
@given(st.lists(happenings, max_size=40))
@example([("run", 3, 0), ("put", KEYS[0], 0), ("backup", 0, 0), ("restore", 0, 0)])
def test_any_history_leaves_the_sink_at_the_state_of_the_store(history: list[tuple[str, object, object]]) -> None:
    async def scenario() -> None:
        past, sink = History(), Replay()
        async with syncing(past.backend, sink):
            for happening in history:
                await past.happen(*happening)
            past.backend.come_up()
            past.backend.break_streams()
            await steps(400)
            assert sink.view == store_view(past.backend)
            assert sink.last is IN_SYNC
            assert sink.count(IN_SYNC) == 1
            past.write("put", KEYS[0], "end")
            await steps(100)
            assert sink.view == store_view(past.backend)
            assert sink.revision == past.backend._revision

    asyncio.run(scenario())


# ---- the first listing


async def test_in_sync_is_said_once_and_after_the_whole_snapshot_of_every_prefix() -> None:
    backend, sink = ready_store(2500), Replay()
    put(backend, f"{BLOCKS}b0", b"")
    seen: list[int] = []

    class Sink(Replay):
        def on_status(self, status: SyncStatus, reason: str = "") -> None:
            super().on_status(status, reason)
            seen.append(len(self.view))

    sink = Sink()
    async with syncing(backend, sink):
        await steps()
        backend.break_streams()
        await steps()
    assert [status for status, _ in sink.statuses] == [WAITING, RESYNCING, IN_SYNC]
    assert seen == [0, 0, 2502]


async def test_a_snapshot_comes_in_chunks_of_which_only_the_last_has_a_revision() -> None:
    backend = ready_store(2500)
    revisions: list[tuple[int, int]] = []

    class Sink(Replay):
        def on_updates(self, updates: Sequence[Update], revision: int) -> None:
            super().on_updates(updates, revision)
            revisions.append((len(updates), revision))

    async with syncing(backend, Sink()):
        await steps()
    assert revisions == [(1000, 0), (1000, 0), (501, backend._revision)]


async def test_an_empty_store_is_in_sync_where_readiness_is_not_required() -> None:
    sink = Replay()
    async with syncing(MemoryBackend(), sink):
        await steps()
    assert (sink.last, sink.view, sink.calls) == (IN_SYNC, {}, 1)


async def test_a_store_that_is_not_initialised_is_waited_for_and_said_so() -> None:
    backend, sink = MemoryBackend(), Replay()
    put(backend, f"{RESOURCES}nodes/n0", b"1")
    async with syncing(backend, sink, require_ready=True):
        await steps()
        assert (sink.last, sink.view) == (WAITING, {})
        assert "ClusterInformation/default is absent" in sink.reason
        put(backend, CLUSTER_INFO_KEY, info(ready=False))
        await steps()
        assert (sink.last, sink.view) == (WAITING, {})
        assert "datastoreReady" in sink.reason
        put(backend, CLUSTER_INFO_KEY, info())
        await steps()
        assert (sink.last, len(sink.view)) == (IN_SYNC, 2)


async def test_a_store_that_was_never_followed_is_looked_at_every_second_and_one_held_back_every_five() -> None:
    slept: list[float] = []
    looks: list[float] = []

    class Watched(MemoryBackend):
        async def revision(self) -> tuple[int, int]:
            looks.append(sum(slept))
            return await super().revision()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    backend = Watched()
    syncer = Syncer(backend, PREFIXES, Replay(), require_ready=True, sleep=sleep, clock=lambda: 7.0)
    task = asyncio.create_task(syncer.run())
    await steps()
    assert looks[:4] == [0.0, 1.0, 2.0, 3.0]
    put(backend, CLUSTER_INFO_KEY, info())
    await steps()
    put(backend, CLUSTER_INFO_KEY, info(ready=False))
    looks.clear()
    await steps()
    assert syncer.status is LOCKED
    assert {later - earlier for earlier, later in pairwise(looks)} == {5.0}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_an_unreachable_store_is_waited_for_with_its_reason() -> None:
    backend, sink = ready_store(), Replay()
    backend.go_down("no route to host")
    async with syncing(backend, sink) as syncer:
        await steps()
        assert sink.last is WAITING
        assert "no route to host" in sink.reason
        assert (syncer.connected, syncer.last_contact, syncer.contact_age_s()) == (False, None, None)
        backend.come_up()
        await steps()
        assert sink.last is IN_SYNC
        assert (syncer.connected, syncer.last_contact, syncer.contact_age_s()) == (True, 7.0, 0.0)


# ---- losses


async def test_a_short_loss_keeps_the_view_in_sync_and_shows_in_the_connection() -> None:
    backend, sink = ready_store(), Replay()
    async with syncing(backend, sink) as syncer:
        await steps()
        backend.go_down()
        await steps()
        assert (syncer.connected, syncer.status) == (False, IN_SYNC)
        backend.come_up()
        put(backend, f"{RESOURCES}nodes/n0", b"2")
        await steps()
        assert syncer.connected
    assert sink.view == store_view(backend)
    assert [status for status, _ in sink.statuses] == [WAITING, RESYNCING, IN_SYNC]


async def test_after_compaction_only_the_difference_is_delivered() -> None:
    backend, sink = ready_store(), Replay()
    async with syncing(backend, sink):
        await steps()
        backend.go_down()
        await steps()
        backend.come_up()
        put(backend, f"{RESOURCES}nodes/n0", b"2")
        backend.apply([Op(f"{RESOURCES}nodes/n1")])
        put(backend, f"{RESOURCES}nodes/n2", b"1")
        backend.forget_before(backend._revision)
        calls = sink.calls
        await steps()
        assert sink.calls == calls + 1
    assert sink.view == store_view(backend)


async def test_a_prefix_far_behind_is_listed_instead_of_replayed() -> None:
    backend, sink = ready_store(1), Replay()
    syncer = Syncer(backend, [RESOURCES], sink, sleep=no_time, relist_after=10)
    task = asyncio.create_task(syncer.run())
    await steps()
    backend.go_down()
    await steps()
    backend.come_up()
    for number in range(30):
        put(backend, f"{RESOURCES}nodes/n0", str(number).encode())
    calls = sink.calls
    await steps()
    assert sink.calls == calls + 1
    assert sink.view == store_view(backend)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_rewrite_of_the_same_bytes_is_no_change_but_moves_the_revision_of_the_view() -> None:
    backend, sink = ready_store(), Replay()
    async with syncing(backend, sink):
        await steps()
        calls, changes = sink.calls, sink.changes
        rewritten = put(backend, f"{RESOURCES}nodes/n0", b"1")
        backend.apply([Op(f"{RESOURCES}nodes/absent")])
        await steps()
        current, _ = await backend.revision()
    assert (sink.calls, sink.changes) == (calls + 1, changes)
    assert sink.revision == current, rewritten


class Late(MemoryBackend):
    """A store whose changes below the resources arrive when ``release`` is set, all others at once."""

    def __init__(self) -> None:
        super().__init__()
        self.release = asyncio.Event()

    async def watch(self, prefix: str, from_revision: int) -> AsyncGenerator[WatchBatch, None]:
        async for batch in super().watch(prefix, from_revision):
            if batch.updates and prefix == RESOURCES:
                await self.release.wait()
            yield batch


@pytest.mark.parametrize("revisions_of", [RESOURCES, ""])
async def test_a_prefix_that_is_ahead_of_the_one_that_tells_revisions_tells_none(revisions_of: str) -> None:
    backend = Late()
    put(backend, CLUSTER_INFO_KEY, info())
    told: list[int] = []

    class Sink(Replay):
        def on_updates(self, updates: Sequence[Update], revision: int) -> None:
            super().on_updates(updates, revision)
            told.append(revision)

    sink = Sink()
    syncer = Syncer(backend, PREFIXES, sink, sleep=no_time, revisions_of=revisions_of)
    task = asyncio.create_task(syncer.run())
    try:
        await steps()
        listed = told[-1]
        resource = put(backend, f"{RESOURCES}nodes/n0", b"1")
        block = put(backend, f"{BLOCKS}b0", b"1")
        await steps()
        assert f"{BLOCKS}b0" in sink.view
        assert f"{RESOURCES}nodes/n0" not in sink.view
        assert max(told) == (listed if revisions_of else block)
        backend.release.set()
        await steps()
        assert told[-1] == resource
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# ---- stores that are not what they were


async def test_a_store_restored_to_an_older_point_is_followed_when_little_vanishes() -> None:
    backend, sink = ready_store(), Replay()
    backup = backend.snapshot()
    async with syncing(backend, sink):
        await steps()
        put(backend, f"{RESOURCES}nodes/new", b"1")
        await steps()
        backend.restore(backup)
        put(backend, f"{RESOURCES}nodes/n0", b"other")
        await steps()
    assert sink.view == store_view(backend)
    assert sink.last is IN_SYNC


async def test_a_restored_store_that_has_grown_past_us_is_still_found_out() -> None:
    backend, sink = ready_store(), Replay()
    backup = backend.snapshot()
    async with syncing(backend, sink):
        await steps()
        for number in range(3):
            put(backend, f"{RESOURCES}nodes/ghost{number}", b"1")
        await steps()
        backend.restore(backup)
        for number in range(20):
            put(backend, f"{RESOURCES}nodes/late{number}", b"1")
        await steps()
    assert sink.view == store_view(backend)


@pytest.mark.parametrize("last", ["put", "delete"])
async def test_the_last_change_proves_descent_whatever_it_was(last: str) -> None:
    backend, sink = ready_store(), Replay()
    async with syncing(backend, sink):
        await steps()
        backend.apply([Op(f"{RESOURCES}nodes/n0", b"2" if last == "put" else None)])
        await steps()
        calls = sink.calls
        backend.break_streams()
        await steps()
        assert sink.calls == calls  # resumed, not listed again
        put(backend, f"{RESOURCES}nodes/n1", b"2")
        await steps()
    assert sink.view == store_view(backend)


async def test_a_deletion_that_both_histories_share_does_not_hide_what_differs_before_it() -> None:
    backend, sink = ready_store(), Replay()
    backup = backend.snapshot()
    async with syncing(backend, sink):
        await steps()
        put(backend, f"{RESOURCES}nodes/ghost", b"1")
        backend.apply([Op(f"{RESOURCES}nodes/n0")])
        await steps()
        backend.restore(backup)
        put(backend, f"{RESOURCES}nodes/other", b"1")
        backend.apply([Op(f"{RESOURCES}nodes/n0")])
        await steps()
    assert sink.view == store_view(backend)


async def test_a_store_replaced_between_listing_and_watching_is_found_out() -> None:
    class ReplacedOnce(MemoryBackend):
        backup: Snapshot | None = None

        async def list(self, prefix: str, *, revision: int = 0, created_after: int = 0) -> Listing:
            listing = await super().list(prefix, revision=revision)
            if self.backup is not None:
                self.restore(self.backup)
                self.backup = None
            return listing

    backend, sink = ReplacedOnce(), Replay()
    put(backend, f"{RESOURCES}nodes/n0", b"1")
    backup = backend.snapshot()
    put(backend, f"{RESOURCES}nodes/ghost", b"1")
    backend.backup = backup
    async with syncing(backend, sink, prefixes=[RESOURCES]):
        await steps()
        assert sink.view == store_view(backend) == {f"{RESOURCES}nodes/n0": b"1"}
        put(backend, f"{RESOURCES}nodes/n0", b"2")
        await steps()
        assert sink.view == store_view(backend)


async def test_what_came_and_went_before_the_listing_is_not_told_on_resuming() -> None:
    backend, sink = ready_store(), Replay()
    put(backend, f"{RESOURCES}nodes/gone", b"1")
    for number in range(1500):
        put(backend, "/elsewhere", str(number).encode())
    backend.apply([Op(f"{RESOURCES}nodes/gone")])
    async with syncing(backend, sink):
        await steps()
        backend.break_streams()
        await steps()
        put(backend, f"{RESOURCES}nodes/n0", b"2")
        await steps()
    assert sink.view == store_view(backend)
    assert sink.changes == 31 + 1


@pytest.mark.parametrize("how", ["emptied", "restored empty", "other cluster"])
async def test_a_store_emptied_is_never_read_as_delete_everything(how: str) -> None:
    backend, sink = ready_store(), Replay()
    good = backend.snapshot()
    async with syncing(backend, sink, require_ready=True) as syncer:
        await steps()
        view = dict(sink.view)
        if how == "emptied":
            await backend.delete_prefix("/calico/")
        elif how == "restored empty":
            backend.restore(Snapshot((), 1, good.cluster_id))
        else:
            backend.become_other(99)
        await steps()
        assert (sink.last, sink.view) == (HELD, view)
        assert syncer.reason == sink.reason
        for words in ("ClusterInformation/default", "31 of 31 known keys would vanish", "calico datastore accept"):
            assert words in sink.reason
        backend.restore(good)
        put(backend, f"{RESOURCES}nodes/n0", b"back")
        await steps()
        assert (sink.last, sink.view) == (IN_SYNC, store_view(backend))


async def test_a_store_of_another_cluster_guid_is_held_until_accepted() -> None:
    backend, sink = ready_store(), Replay()
    async with syncing(backend, sink, require_ready=True) as syncer:
        await steps()
        assert not syncer.accept()
        view = dict(sink.view)
        backend.become_other(99)
        put(backend, CLUSTER_INFO_KEY, info("g2"))
        await steps()
        assert (sink.last, sink.view) == (HELD, view)
        assert "clusterGUID is g2 and was g1" in sink.reason
        assert syncer.accept()
        await steps()
        assert (sink.last, sink.view) == (IN_SYNC, store_view(backend))
        assert not syncer.accept()


async def test_accepting_cuts_the_pause_short_and_a_locked_store_is_not_asked_without_pause() -> None:
    backend, sink, slept = ready_store(), Replay(), [0.0]

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    syncer = Syncer(backend, PREFIXES, sink, require_ready=True, sleep=sleep)
    task = asyncio.create_task(syncer.run())
    await steps()
    backend.become_other(99)
    put(backend, CLUSTER_INFO_KEY, info("g2"))
    while sink.last is not HELD:
        await steps(1)
    asked = len(slept)
    assert syncer.accept()
    while sink.last is not IN_SYNC:
        await steps(1)
    assert sum(slept[asked:]) <= 1.0
    put(backend, CLUSTER_INFO_KEY, info("g3"))
    await steps()
    put(backend, CLUSTER_INFO_KEY, info("g2", ready=False))
    assert syncer.accept()
    asked = len(slept)
    await steps(400)
    assert sink.last is HELD
    assert sum(slept[asked:]) > 30
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_accepting_one_store_does_not_accept_the_next() -> None:
    backend, sink = ready_store(), Replay()
    async with syncing(backend, sink) as syncer:
        await steps()
        view = dict(sink.view)
        backend.become_other(99)
        await steps()
        backend.become_other(100)
        put(backend, CLUSTER_INFO_KEY, info("g3"))
        assert syncer.accept()
        await steps()
        assert (sink.last, sink.view) == (HELD, view)
        assert "g3" in sink.reason


async def test_a_changed_guid_while_watching_is_held() -> None:
    backend, sink = ready_store(), Replay()
    async with syncing(backend, sink):
        await steps()
        view = dict(sink.view)
        backend.apply([Op(CLUSTER_INFO_KEY, info("g2")), Op(f"{RESOURCES}nodes/n0")])
        await steps()
        assert (sink.last, sink.view) == (HELD, view)
        put(backend, CLUSTER_INFO_KEY, info())
        await steps()
        assert (sink.last, sink.view) == (IN_SYNC, store_view(backend))


async def test_an_older_store_that_loses_many_keys_is_held_even_after_it_compacts() -> None:
    backend = ready_store(5)
    backup = backend.snapshot()
    for number in range(30):
        put(backend, f"{RESOURCES}nodes/m{number}", b"1")
    sink = Replay()
    async with syncing(backend, sink) as syncer:
        await steps()
        view = dict(sink.view)
        backend.restore(backup)
        await steps()
        assert (sink.last, sink.view) == (HELD, view)
        assert "revision went back" in sink.reason
        for number in range(60):
            put(backend, "/elsewhere", str(number).encode())
        backend.forget_before(backend._revision)
        await steps()
        assert (sink.last, sink.view) == (HELD, view)
        assert syncer.accept()
        await steps()
        assert (sink.last, sink.view) == (IN_SYNC, store_view(backend))


async def test_many_deletions_in_a_living_store_are_followed() -> None:
    backend, sink = ready_store(), Replay()
    async with syncing(backend, sink):
        await steps()
        await backend.delete_prefix(f"{RESOURCES}nodes/")
        await steps()
    assert sink.view == {CLUSTER_INFO_KEY: info()}
    assert sink.count(HELD) == 0


async def test_an_emptied_store_is_held_also_where_the_loss_shows_on_another_prefix_first() -> None:
    backend, sink = ready_store(), Replay()
    for number in range(30):
        put(backend, f"{BLOCKS}b{number}", b"")
    async with syncing(backend, sink, prefixes=[BLOCKS]):
        await steps()
        view = dict(sink.view)
        await backend.delete_prefix("/calico/")
        await steps()
        assert (sink.last, sink.view) == (HELD, view)


async def test_a_datastore_locked_later_keeps_the_view_until_unlocked() -> None:
    backend, sink = ready_store(), Replay()
    async with syncing(backend, sink, require_ready=True) as syncer:
        await steps()
        view = dict(sink.view)
        put(backend, CLUSTER_INFO_KEY, info(ready=False))
        put(backend, f"{RESOURCES}nodes/n0", b"during migration")
        await steps()
        assert (sink.last, sink.view) == (LOCKED, view)
        assert "locked" in sink.reason
        assert not syncer.accept()
        backend.go_down()
        await steps()
        assert "locked" in sink.reason
        backend.come_up()
        put(backend, CLUSTER_INFO_KEY, info())
        await steps()
        assert (sink.last, sink.view) == (IN_SYNC, store_view(backend))


async def test_values_that_are_no_json_pass_through() -> None:
    backend, sink = ready_store(), Replay()
    async with syncing(backend, sink, require_ready=True):
        await steps()
        put(backend, f"{RESOURCES}nodes/bad", b"\xff{")
        await steps()
    assert sink.view[f"{RESOURCES}nodes/bad"] == b"\xff{"


# ---- the rest


def test_prefixes_must_not_overlap_or_be_empty() -> None:
    for prefixes in ((), ("",), ("/a/", "/a/b/"), ("/a/b/", "/a/")):
        with pytest.raises(InvalidInput):
            Syncer(MemoryBackend(), prefixes, Replay())


def test_nothing_but_a_delivered_view_leads_to_in_sync() -> None:
    sources = {happening for (before, happening), after in TRANSITIONS.items() if after is IN_SYNC is not before}
    assert sources == {Happening.DELIVERED}


def test_a_view_once_in_sync_is_never_waited_for_again() -> None:
    assert not {after for (before, _), after in TRANSITIONS.items() if before in (IN_SYNC, LOCKED, HELD)} & {
        WAITING,
        RESYNCING,
    }


def test_a_doubt_before_anything_is_known_is_impossible() -> None:
    with pytest.raises(KeyError):
        next_status(WAITING, Happening.DOUBTED)
