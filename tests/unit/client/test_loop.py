"""The thread in which a synchronous client works."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator

import pytest

from calico.client.loop import LoopThread


@pytest.mark.timeout(30)
def test_an_iterator_that_is_collected_in_the_loops_own_thread_blocks_nobody() -> None:
    ended: list[bool] = []

    async def numbers() -> AsyncGenerator[int, None]:
        try:
            yield 1
            yield 2
        finally:
            ended.append(True)

    async def collect(box: list[Iterator[int]]) -> None:
        box.clear()

    thread = LoopThread()
    iterator = thread.iterate(numbers())
    assert next(iterator) == 1
    box = [iterator]
    del iterator
    thread.run(collect(box))
    thread.close()
    assert ended == [True]
