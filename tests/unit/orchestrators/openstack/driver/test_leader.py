from __future__ import annotations

import asyncio

import pytest

from calico.datastore.api import CompareFailed, Op
from calico.datastore.memory import MemoryBackend
from calico.orchestrators.openstack.driver.worker.leader import Leader, Term

KEY = "/calico/openstack/v2/no-region/neutron_election"


class Candidate:
    """Stands for election on ``store``; ``terms`` are those it served."""

    def __init__(self, store: MemoryBackend, name: str) -> None:
        self.terms: list[Term] = []
        self.elected, self.ended = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(Leader(store, KEY, name, 60, self._lead).run())

    async def _lead(self, term: Term) -> None:
        self.terms.append(term)
        self.elected.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def resign(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})


async def test_one_leads_and_the_other_takes_over_when_it_resigns() -> None:
    store = MemoryBackend()
    first = Candidate(store, "first")
    async with asyncio.timeout(30):
        await first.elected.wait()
    second = Candidate(store, "second")
    kv = await store.get(KEY)
    assert kv is not None
    assert kv.value == b"first"
    await store.txn([Op("/x", b"1"), first.terms[0].fence])
    assert not second.elected.is_set()
    await first.resign()
    assert first.ended.is_set()
    async with asyncio.timeout(30):
        await second.elected.wait()
    await second.resign()
    assert await store.get(KEY) is None


async def test_writes_of_a_leader_that_was_replaced_are_refused() -> None:
    store = MemoryBackend()
    first = Candidate(store, "first")
    async with asyncio.timeout(30):
        await first.elected.wait()
    await first.resign()
    second = Candidate(store, "second")
    async with asyncio.timeout(30):
        await second.elected.wait()
    with pytest.raises(CompareFailed):
        await store.txn([Op("/x", b"1"), first.terms[0].fence])
    await store.txn([Op("/x", b"2"), second.terms[0].fence])
    await second.resign()
