from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from calico.datastore.api import Op
from calico.datastore.lease import KeptLease, put_with_ttl
from calico.datastore.memory import MemoryBackend

KEY = "/calico/felix/v2/no-region/host/node-1/status"
TTL = 9


class Owner:
    """Writes its key on each lease it is given; its sleeps are the store's passing time."""

    def __init__(self) -> None:
        self.backend = MemoryBackend()
        self.leases: list[int] = []
        self.lease = KeptLease(self.backend, TTL, self.write, sleep=self.sleep)

    async def write(self, lease: int) -> None:
        self.leases.append(lease)
        await self.backend.txn([Op(KEY, b"alive", lease=lease)])

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.backend.advance(seconds)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.lease.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def steps(count: int = 60) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_kept_lease_outlives_its_time_to_live_and_its_key_is_written_once() -> None:
    owner = Owner()
    async with owner.running():
        await steps()
    assert owner.backend._now > 3 * TTL
    kv = await owner.backend.get(KEY)
    assert kv is not None
    assert (kv.version, kv.lease, owner.leases) == (1, owner.lease.lease, [owner.lease.lease])


async def test_a_lost_lease_is_granted_anew_and_the_owner_writes_again() -> None:
    owner = Owner()
    async with owner.running():
        await steps()
        first = owner.lease.lease
        await owner.backend.revoke(first)
        await steps()
    assert owner.leases == [first, owner.lease.lease]
    assert first != owner.lease.lease
    assert await owner.backend.get(KEY) is not None


async def test_an_unreachable_store_is_tried_again() -> None:
    owner = Owner()
    owner.backend.go_down()
    async with owner.running():
        await steps()
        assert (owner.leases, owner.lease.lease) == ([], 0)
        owner.backend.come_up()
        await steps()
    assert await owner.backend.get(KEY) is not None


async def test_a_released_lease_takes_its_key_along_at_once() -> None:
    owner = Owner()
    async with owner.running():
        await steps()
    await owner.lease.release()
    assert owner.lease.lease == 0
    assert await owner.backend.get(KEY) is None


async def test_each_status_write_takes_a_lease_of_its_own_and_survives_the_old_one() -> None:
    backend = MemoryBackend()
    await put_with_ttl(backend, KEY, b"1", 90)
    backend.advance(60)
    await put_with_ttl(backend, KEY, b"2", 90)
    backend.advance(60)
    kv = await backend.get(KEY)
    assert kv is not None
    assert kv.value == b"2"
    backend.advance(31)
    assert await backend.get(KEY) is None
