"""One leader writes; whoever was leader before does not."""

from __future__ import annotations

import pytest

from calico.datastore.api import CompareFailed, Op
from calico.datastore.memory import MemoryBackend
from calico.datastore.typed.store import Store
from calico.model.meta import Metadata
from calico.model.policy import Profile
from calico.orchestrators.kubernetes.controllers.backoff import Backoff
from calico.orchestrators.kubernetes.controllers.fencing import FENCE_KEY, Deposed, FencedBackend, take_fence


async def ours() -> bool:
    return True


async def test_every_write_of_an_older_leader_is_refused() -> None:
    backend = MemoryBackend()
    old = FencedBackend(backend, await take_fence(backend, "old", ours))
    await old.txn([Op("/a", b"1")])
    new = FencedBackend(backend, await take_fence(backend, "new", ours))
    store = Store(old)
    for write in (old.txn([Op("/a", b"2")]), store.create(Profile(kind="Profile", metadata=Metadata(name="kns.x")))):
        with pytest.raises(Deposed):
            await write
    await new.txn([Op("/a", b"3")])
    with pytest.raises(Deposed):
        await old.txn([Op("/a", expect=1)])
    found = await backend.get("/a")
    assert found is not None
    assert found.value == b"3"
    assert [kv.key for kv in (await backend.list("/")).items] == ["/a", FENCE_KEY]


async def test_a_leader_without_its_fence_writes_nothing() -> None:
    backend = MemoryBackend()
    leader = FencedBackend(backend, await take_fence(backend, "one", ours))
    await backend.txn([Op(FENCE_KEY)])
    with pytest.raises(Deposed):
        await leader.txn([Op("/a", b"1")])


async def test_an_ordinary_conflict_is_one() -> None:
    backend = MemoryBackend()
    leader = FencedBackend(backend, await take_fence(backend, "one", ours))
    with pytest.raises(CompareFailed) as error:
        await leader.txn([Op("/a", b"1", expect=7)])
    assert not isinstance(error.value, Deposed)


async def test_whoever_is_paused_between_lease_and_fence_does_not_get_the_fence() -> None:
    backend = MemoryBackend()

    async def another_leads_meanwhile() -> bool:
        await take_fence(backend, "faster", ours)
        return True  # as we saw it, before we were paused

    with pytest.raises(Deposed):
        await take_fence(backend, "slow", another_leads_meanwhile)

    async def lost() -> bool:
        return False

    with pytest.raises(Deposed):
        await take_fence(backend, "slow", lost)
    found = await backend.get(FENCE_KEY)
    assert found is not None
    assert found.value == b"faster"


def test_each_key_waits_for_itself_twice_as_long_after_each_failure() -> None:
    now = 100.0
    backoff: Backoff[str] = Backoff(lambda: now, first_s=1, most_s=5)
    assert backoff.next_s() is None
    for pause in (1, 2, 4, 5, 5):
        backoff.failed("a")
        assert (backoff.is_due("a"), backoff.is_due("b"), backoff.next_s()) == (False, True, pause)
        now += pause
        assert backoff.is_due("a")
    backoff.succeeded("a")
    backoff.failed("a")
    assert backoff.next_s() == 1
