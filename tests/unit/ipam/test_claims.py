"""The protocol of claiming and releasing, in every order of two hosts' steps, with a crash at each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from allocation import calico_client
from allocation.interleave import Run, Steps, every_order
from calico.datastore.memory import MemoryBackend
from calico.ipam.audit.consistency import inconsistencies
from calico.ipam.audit.state import IPAMState, decode_ipam
from calico.ipam.steps.blockcache import BlockCache
from calico.ipam.steps.owning import Owning
from calico.ipam.steps.patience import PatientBackend
from calico.ipam.steps.placing import Placing
from calico.ipam.steps.turns import Turns
from calico.ipam.stored.affinity import Affinity
from calico.ipam.stored.block import Attribute, Block, assign
from calico.ipam.stored.block_codec import decode_block
from calico.ipam.stored.keys import IPAM_PREFIX, block_key

CIDR = "10.0.0.0/30"
A, B = "host:a", "host:b"
START = datetime(2026, 8, 22, 13, 0, tzinfo=UTC)


def patient(store: Steps | MemoryBackend) -> PatientBackend:
    return PatientBackend(store, 0.0)


def owning(store: Steps | MemoryBackend, now: datetime = START) -> Owning:
    return Owning(patient(store), lambda: now)


async def claim(store: Steps | MemoryBackend, owner: str) -> bool:
    return await owning(store).claim(owner, CIDR) is not None


async def place(store: Steps | MemoryBackend, owner: str, handle: str, *, borrow: bool = False) -> tuple[int, ...]:
    attribute = Attribute(handle)

    def choose(block: Block) -> tuple[Block, tuple[int, ...]]:
        return assign(block, 1, attribute) if borrow or block.affinity == owner else (block, ())

    placing = Placing(patient(store), lambda: START, BlockCache(patient(store)), Turns())
    return (await placing.place(CIDR, attribute, 0, choose)).ordinals


async def empty() -> MemoryBackend:
    return MemoryBackend()


async def claimed() -> MemoryBackend:
    store = MemoryBackend()
    assert await claim(store, A)
    return store


async def used() -> MemoryBackend:
    store = await claimed()
    assert await place(store, A, "first") == (0,)
    return store


async def state(store: MemoryBackend) -> IPAMState:
    found = decode_ipam((await store.list(IPAM_PREFIX)).items)
    return IPAMState(
        blocks=found.blocks, affinities=found.affinities, handles=found.handles, nodes=frozenset(("a", "b"))
    )


async def contradictions(store: MemoryBackend) -> set[str]:
    return {finding.code for finding in inconsistencies(await state(store))} - {"block-outside-pools"}


async def owner_of_block(store: MemoryBackend) -> str | None:
    kv = await store.get(block_key(CIDR))
    return decode_block(kv.key, kv.value).affinity if kv is not None else None


async def test_two_hosts_that_claim_one_block_at_once_end_with_one_owner() -> None:
    async def check(run: Run) -> None:
        assert await contradictions(run.store) == set()
        believers = [owner for owner, won in zip((A, B), run.results, strict=True) if won]
        assert believers in ([], [await owner_of_block(run.store)])
        assert believers or run.crashed is not None

    runs = await every_order(empty, [lambda s: claim(s, A), lambda s: claim(s, B)], check, lost_answers=True)
    assert runs > 100


async def test_a_claim_against_calicos_own_client_ends_with_one_owner() -> None:
    async def theirs(store: Steps) -> bool:
        return await calico_client.claim(store, B, CIDR, START, 1)

    async def check(run: Run) -> None:
        owner = await owner_of_block(run.store)
        believers = [owner for owner, won in zip((A, B), run.results, strict=True) if won]
        assert believers in ([], [owner])
        left = await contradictions(run.store)
        assert left <= {"affinity-unfinished"}  # what their crash leaves
        for host in (A, B):
            await owning(run.store).claim(host, CIDR)
        assert await contradictions(run.store) == set()

    assert await every_order(empty, [lambda s: claim(s, A), theirs], check, lost_answers=True) > 100


async def test_two_clients_of_one_host_claiming_the_same_block_do_not_undo_each_other() -> None:
    async def theirs(store: Steps) -> bool:
        return await calico_client.claim(store, A, CIDR, START, 1)

    async def check(run: Run) -> None:
        if run.results[0]:
            assert await owner_of_block(run.store) == A
        assert await owning(run.store).claim(A, CIDR) is not None
        assert await contradictions(run.store) == set()

    assert await every_order(empty, [lambda s: claim(s, A), theirs], check) > 100


@pytest.mark.parametrize("theirs_is_calico", [False, True])
async def test_a_block_given_up_while_an_address_is_taken_from_it_keeps_the_address(theirs_is_calico: bool) -> None:
    async def give_up(store: Steps) -> object:
        if theirs_is_calico:
            return await calico_client.release(store, A, CIDR)
        return await owning(store).release(A, CIDR, 0)

    async def check(run: Run) -> None:
        block = (await state(run.store)).blocks.get(CIDR)
        if run.results[1]:
            assert block is not None
            assert [held.handle for _, held in block.held()] == ["workload"]
        left = await contradictions(run.store)
        assert left <= ({"affinity-unfinished", "affinity-stale"} if theirs_is_calico else set())
        await owning(run.store).release(A, CIDR, 0)
        assert await contradictions(run.store) == set()

    assert await every_order(claimed, [give_up, lambda s: place(s, A, "workload")], check) > 10


async def test_an_empty_block_is_taken_over_only_while_nobody_takes_an_address_from_it() -> None:
    later = START + timedelta(minutes=2)

    async def take_over(store: Steps) -> bool:
        seen = await store.get(block_key(CIDR))
        return seen is not None and await owning(store, later).reclaim(B, seen, 0) is not None

    async def check(run: Run) -> None:
        owner = await owner_of_block(run.store)
        assert not (run.results[0] and run.results[1])
        if run.results[0]:
            assert owner == B
        if run.results[1]:
            assert owner == A
        assert await contradictions(run.store) == set()

    runs = await every_order(claimed, [take_over, lambda s: place(s, A, "w")], check, lost_answers=True)
    assert runs > 20


async def test_a_block_that_was_claimed_within_the_minute_is_not_taken_over() -> None:
    store = await claimed()
    seen = await store.get(block_key(CIDR))
    assert seen is not None
    assert await owning(store, START + timedelta(seconds=59)).reclaim(B, seen, 0) is None
    assert await owning(store, START + timedelta(seconds=60)).reclaim(B, seen, 0) is not None
    assert set((await state(store)).affinities.values()) == {Affinity("confirmed")}


async def test_a_block_in_use_is_not_taken_over() -> None:
    store = await used()
    seen = await store.get(block_key(CIDR))
    assert seen is not None
    assert await owning(store, START + timedelta(hours=1)).reclaim(B, seen, 0) is None


async def test_two_workloads_never_get_one_address_and_none_is_lost_with_an_answer() -> None:
    async def check(run: Run) -> None:
        found = await state(run.store)
        held = {attribute.handle: ordinal for ordinal, attribute in found.blocks[CIDR].held()}
        assert len(set(held.values())) == len(held)
        for handle, result in zip(("one", "two"), run.results, strict=True):
            if result is not None:
                assert result == (held[handle],)
        assert len(held) + (run.crashed is not None) >= 2
        assert await contradictions(run.store) == set()

    actors = [lambda s: place(s, A, "one"), lambda s: place(s, B, "two", borrow=True)]
    assert await every_order(claimed, actors, check, lost_answers=True) > 20


async def test_what_was_given_up_empty_is_gone_and_what_is_in_use_belongs_to_nobody() -> None:
    store = await claimed()
    assert await owning(store).release(A, CIDR, 0) == ""
    assert (await store.list(IPAM_PREFIX)).items == ()
    store = await used()
    assert "1 addresses in use" in await owning(store).release(A, CIDR, 0, only_empty=True)
    assert await owner_of_block(store) == A
    assert await owning(store).release(A, CIDR, 0) == ""
    assert await owner_of_block(store) is None
    assert (await state(store)).affinities == {}


async def test_an_affinity_to_a_block_of_another_is_removed_and_the_block_left_alone() -> None:
    store = await claimed()
    await store.txn([calico_client.Op(calico_client.affinity_key(B, CIDR), calico_client.CONFIRMED)])
    assert await contradictions(store) == {"affinity-stale"}
    assert await owning(store).claim(B, CIDR) is None
    assert await contradictions(store) == set()
    assert await owner_of_block(store) == A
