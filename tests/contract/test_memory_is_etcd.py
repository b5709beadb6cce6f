"""The in-memory store answers any sequence of requests exactly as etcd does: values, revisions and error classes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import msgspec
import pytest

from calico.datastore.api import CompareFailed, KeyValue, Op, Update
from calico.datastore.etcd.backend import EtcdBackend
from calico.datastore.etcd.server import EtcdProcess
from calico.datastore.memory import MemoryBackend
from calico.errors import CalicoError

pytestmark = pytest.mark.etcd

Either = MemoryBackend | EtcdBackend
KEYS = ["/p/a", "/p/b", "/p/b/c", "/p", "/q"]


class Pair:
    """The same requests to both; lease ids are told apart by the order of their grants."""

    def __init__(self, etcd: EtcdBackend, seed: int) -> None:
        self.random = random.Random(seed)
        self.stores: tuple[Either, Either] = (MemoryBackend(), etcd)
        self.leases: list[tuple[int, int]] = []
        self.revision = 1

    async def both(self, ask: Callable[[Either, int], Awaitable[object]]) -> object:
        """The common answer of both; an error counts by its class and what it carries."""
        answers = [await self.answer(ask, index) for index in (0, 1)]
        assert answers[0] == answers[1]
        return answers[0]

    async def answer(self, ask: Callable[[Either, int], Awaitable[object]], index: int) -> object:
        try:
            return await ask(self.stores[index], index)
        except CompareFailed as err:
            return CompareFailed, {key: self.plain(kv, index) for key, kv in err.current.items()}
        except CalicoError as err:
            return type(err)

    def plain(self, kv: KeyValue | None, index: int) -> KeyValue | None:
        """A key with its lease replaced by the number of the grant."""
        if kv is None or not kv.lease:
            return kv
        number = [pair[index] for pair in self.leases].index(kv.lease) + 1
        return msgspec.structs.replace(kv, lease=number)

    def some_revision(self) -> int:
        return self.random.choice([0, 0, self.random.randint(1, self.revision + 2)])

    def some_ops(self) -> list[tuple[Op, int | None]]:
        chosen = self.random.sample(KEYS, self.random.randint(1, 3))
        return [(self.some_op(key), self.some_lease()) for key in chosen]

    def some_op(self, key: str) -> Op:
        pick = self.random
        value = pick.choice([None, b"", b"1", b"2"])
        expect = pick.choice([None, None, 0, pick.randint(1, self.revision + 1)])
        return Op(key, value, expect=expect, check_only=pick.random() < 0.1)

    def some_lease(self) -> int | None:
        return self.random.randrange(len(self.leases)) if self.leases and self.random.random() < 0.2 else None

    async def step(self) -> None:
        what = self.random.choices(
            [self.txn, self.get, self.list, self.delete, self.compact, self.grant, self.revoke],
            [12, 4, 4, 1, 1, 1, 1],
        )[0]
        await what()
        revision = await self.both(lambda store, _: self.revision_of(store))
        assert isinstance(revision, int)
        self.revision = revision

    @staticmethod
    async def revision_of(store: Either) -> int:
        return (await store.revision())[0]

    async def txn(self) -> None:
        ops = self.some_ops()
        # A lease that was revoked is refused by both in a transaction that would have put with it.
        await self.both(
            lambda store, index: store.txn(
                [msgspec.structs.replace(op, lease=self.leases[n][index] if n is not None else 0) for op, n in ops]
            )
        )

    async def get(self) -> None:
        key, revision = self.random.choice(KEYS), self.some_revision()

        async def ask(store: Either, index: int) -> object:
            return self.plain(await store.get(key, revision=revision), index)

        await self.both(ask)

    async def list(self) -> None:
        prefix, revision = self.random.choice(["/", "/p", "/p/", "/p/b"]), self.some_revision()

        async def ask(store: Either, index: int) -> object:
            listing = await store.list(prefix, revision=revision)
            return [self.plain(kv, index) for kv in listing.items], listing.revision

        await self.both(ask)

    async def delete(self) -> None:
        prefix = self.random.choice(["/p/", "/p/b", "/q"])
        await self.both(lambda store, _: store.delete_prefix(prefix))

    async def compact(self) -> None:
        revision = self.random.randint(1, self.revision + 1)
        await self.both(lambda store, _: store.compact(revision))

    async def grant(self) -> None:
        self.leases.append((await self.stores[0].grant(600), await self.stores[1].grant(600)))

    async def revoke(self) -> None:
        number = self.some_lease()
        if number is not None:
            await self.both(lambda store, index: store.revoke(self.leases[number][index]))


async def history(store: Either, prefix: str, until: int) -> list[Update]:
    """All changes that a watch still shows, up to a revision that holds a change of every prefix."""
    updates: list[Update] = []
    async with asyncio.timeout(10), aclosing(store.watch(prefix, until - 60)) as stream:
        async for batch in stream:
            updates.extend(batch.updates)
            if batch.updates and batch.revision == until:
                break
    return updates


@pytest.mark.parametrize("seed", range(4))
async def test_any_requests_have_the_same_answers(etcd_server: EtcdProcess, seed: int) -> None:
    etcd = EtcdBackend(etcd_server.endpoints, page_keys=2)
    pair = Pair(etcd, seed)
    try:
        for _ in range(300):
            await pair.step()
        for number in range(60):
            await pair.both(lambda store, _, n=number: store.txn([Op("/p/b", str(n).encode()), Op("/p/a")]))
        last = await pair.stores[0].revision()
        for prefix in ("/", "/p/b"):
            seen = await pair.both(lambda store, _, p=prefix: history(store, p, last[0]))
            assert isinstance(seen, list)
            assert seen
    finally:
        await etcd.close()
