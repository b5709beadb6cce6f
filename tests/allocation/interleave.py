"""Runs actors on one store in every order of their steps, also with one of them crashing at any step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from calico.datastore.api import KeyValue, Listing, Op, Query
from calico.datastore.memory import MemoryBackend
from calico.errors import Transient, Uncertain

Actor = Callable[["Steps"], Awaitable[object]]
_SETTLE = 6


class Steps:
    """The store as one actor sees it: each call waits until the schedule lets it happen."""

    def __init__(self, store: MemoryBackend) -> None:
        self._store = store
        self.waiting: list[asyncio.Future[bool]] = []

    async def _turn(self) -> bool:
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        return await turn

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        await self._turn()
        return await self._store.get(key)

    async def list(self, prefix: str, *, revision: int = 0, created_after: int = 0) -> Listing:
        await self._turn()
        return await self._store.list(prefix)

    async def read(self, queries: Sequence[Query]) -> tuple[tuple[KeyValue, ...], ...]:
        await self._turn()
        return await self._store.read(queries)

    async def txn(self, ops: Sequence[Op]) -> int:
        answered = await self._turn()
        revision = self._store.apply(ops)
        if not answered:
            raise Uncertain("the answer was lost")
        return revision


class Run:
    """``results`` by actor: what it returned, or None when it crashed."""

    def __init__(self, store: MemoryBackend, results: list[object], crashed: int | None) -> None:
        self.store, self.results, self.crashed = store, results, crashed


async def every_order(
    prepare: Callable[[], Awaitable[MemoryBackend]],
    actors: Sequence[Actor],
    check: Callable[[Run], Awaitable[None]],
    *,
    crashes: bool = True,
    lost_answers: bool = False,
) -> int:
    """Check every run; how many there were. ``lost_answers``: one write of each run may happen without an answer."""
    path: list[int] = []
    runs = 0
    while True:
        widths = await _run(await prepare(), actors, path, check, crashes, lost_answers)
        runs += 1
        while widths and path[len(widths) - 1] + 1 >= widths[-1]:
            widths.pop()
        if not widths:
            return runs
        path = [*path[: len(widths) - 1], path[len(widths) - 1] + 1]


async def _run(
    store: MemoryBackend,
    actors: Sequence[Actor],
    path: list[int],
    check: Callable[[Run], Awaitable[None]],
    crashes: bool,
    lost_answers: bool,
) -> list[int]:
    """One run by the choices in ``path``, which is extended by first choices; how many choices there were each time."""
    steps = [Steps(store) for _ in actors]
    tasks = [asyncio.ensure_future(actor(step)) for actor, step in zip(actors, steps, strict=True)]
    crashed: int | None = None
    accident = False
    widths: list[int] = []
    while True:
        for _ in range(_SETTLE):
            await asyncio.sleep(0)
        ready = [i for i, step in enumerate(steps) if step.waiting and i != crashed]
        if not ready:
            break
        choices = [(i, "step") for i in ready]
        if not accident:
            choices += [(i, "crash") for i in ready] if crashes else []
            choices += [(i, "lost") for i in ready] if lost_answers else []
        if len(widths) == len(path):
            path.append(0)
        actor, what = choices[path[len(widths)]]
        widths.append(len(choices))
        if what == "crash":
            crashed, accident = actor, True
            tasks[actor].cancel()
            continue
        if what == "lost":
            accident = True
        steps[actor].waiting.pop(0).set_result(what == "step")
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for i, result in enumerate(results):
        if isinstance(result, BaseException) and not (i == crashed or isinstance(result, Transient)):
            raise result
    del path[len(widths) :]
    await check(Run(store, [None if isinstance(r, BaseException) else r for r in results], crashed))
    return widths
