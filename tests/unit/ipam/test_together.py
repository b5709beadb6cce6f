"""Requests of one process go together into one write, whatever happens to the write or to one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from allocation.cluster import Cluster
from calico.datastore.api import Op
from calico.errors import Transient, Uncertain
from calico.ipam.allocator import Allocator
from calico.ipam.requests import AssignRequest, ReleaseRequest
from calico.ipam.steps.sharedreads import SharedReads

FATES = ("done", "done", "lost", "not done", "refused")


class Unlucky:
    """A backend each of whose writes has its fate; when no more are told, all goes well."""

    def __init__(self, cluster: Cluster, fates: Sequence[str]) -> None:
        self._backend, self._fates = cluster.backend, iter(fates)
        self.get, self.list, self.read = cluster.backend.get, cluster.backend.list, cluster.backend.read
        self.writes = 0

    async def txn(self, ops: Sequence[Op]) -> int:
        fate = next(self._fates, "done")
        self.writes += 1
        if fate == "refused":
            raise Transient("not now")
        if fate == "not done":
            await asyncio.sleep(0)
            raise Uncertain("it did not happen, and nobody knows")
        revision = await self._backend.txn(ops)
        if fate == "lost":
            raise Uncertain("it did happen, and nobody knows")
        return revision


def allocator(cluster: Cluster, backend: Unlucky) -> Allocator:
    async def sleep(_: float) -> None:
        await asyncio.sleep(0)

    return Allocator(backend, clock=lambda: cluster.now, sleep=sleep, patience_s=1000)


@given(
    st.lists(st.sampled_from(FATES), max_size=25),
    st.lists(st.tuples(st.integers(0, 25), st.integers(0, 12)), max_size=4),
    st.integers(1, 2),
)
def test_every_request_gets_its_own_addresses_in_spite_of_lost_answers_and_cancelled_neighbours(
    fates: list[str], cancelled: list[tuple[int, int]], processes: int
) -> None:
    async def run() -> None:
        cluster = await Cluster().hosts()
        await cluster.pool("p", "10.0.0.0/24", block_size=29)
        backend = Unlucky(cluster, fates)
        allocators = [allocator(cluster, backend) for _ in range(processes)]
        requests = [AssignRequest(hostname="a", v4=1 + number % 2, handle=f"h.{number}") for number in range(26)]
        tasks = [
            asyncio.ensure_future(allocators[number % processes].auto_assign(request))
            for number, request in enumerate(requests)
        ]
        for victim, turns in cancelled:
            for _ in range(turns):
                await asyncio.sleep(0)
            tasks[victim].cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        victims = {victim for victim, _ in cancelled}
        state = await cluster.state()
        held = {
            str(block.network[ordinal]): attribute.handle
            for block in state.blocks.values()
            for ordinal, attribute in block.held()
        }
        for number, answer in enumerate(answers):
            if isinstance(answer, BaseException):
                assert number in victims
                continue
            mine = [str(address.ip) for address in answer.v4]
            assert len(mine) == requests[number].v4, answer.reason
            assert sorted(mine) == sorted(address for address, handle in held.items() if handle == f"h.{number}")
        assert await cluster.problems() == []

    asyncio.run(run())


@given(st.lists(st.sampled_from(FATES), max_size=30), st.integers(1, 2), st.booleans())
def test_every_release_is_told_of_just_the_addresses_that_it_freed(
    fates: list[str], processes: int, by_address: bool
) -> None:
    async def run() -> None:
        cluster = await Cluster().hosts()
        await cluster.pool("p", "10.0.0.0/24", block_size=29)
        before = allocator(cluster, Unlucky(cluster, ()))
        given_out = {f"h.{n}": [str(a.ip) for a in (await before.auto_assign(request(n))).v4] for n in range(12)}
        backend = Unlucky(cluster, fates)
        allocators = [allocator(cluster, backend) for _ in range(processes)]

        async def free(number: int) -> tuple[str, ...]:
            one, handle = allocators[number % processes], f"h.{number}"
            if not by_address:
                return await one.release_by_handle(handle)
            asked = [ReleaseRequest(address=address, handle=handle) for address in given_out[handle]]
            return (await one.release_ips(asked)).released

        answers = await asyncio.gather(*(free(number) for number in range(10)))
        for number, answer in enumerate(answers):
            assert sorted(answer) == sorted(given_out[f"h.{number}"])
        state = await cluster.state()
        assert state.handles.keys() == {"h.10", "h.11"}
        assert await cluster.problems() == []

    def request(number: int) -> AssignRequest:
        return AssignRequest(hostname="a", v4=1 + number % 2, handle=f"h.{number}")

    asyncio.run(run())


async def test_a_hundred_requests_at_once_take_a_few_writes() -> None:
    cluster = await Cluster().hosts()
    await cluster.pool("p", "10.0.0.0/16")
    backend = Unlucky(cluster, ())
    one = allocator(cluster, backend)
    await asyncio.gather(*(one.auto_assign(AssignRequest(hostname="a", v4=1, handle=f"h.{n}")) for n in range(100)))
    assert backend.writes <= 25


async def test_a_shared_read_is_never_older_than_the_question() -> None:
    reads, begun = SharedReads[str, int](), 0

    async def read() -> int:
        nonlocal begun
        begun += 1
        mine = begun
        await asyncio.sleep(0)
        return mine

    async def ask() -> tuple[int, int]:
        before = begun
        return before, await reads.read("key", read)

    def waves() -> Iterator[asyncio.Task[tuple[int, int]]]:
        for _ in range(20):
            yield asyncio.ensure_future(ask())

    tasks = list(waves())
    await asyncio.sleep(0)
    tasks += list(waves())
    answers = await asyncio.gather(*tasks)
    assert all(answer > before for before, answer in answers)
    assert begun <= 4
