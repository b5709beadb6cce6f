"""Several asynchronous streams read as one, in arrival order; the first that fails ends all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import TypeVar

from calico.errors import Transient

__all__ = ["merged"]

T = TypeVar("T")

_QUEUE_ITEMS = 8  # batches of about 2 MB at most: what a slow reader costs


async def merged(streams: Mapping[str, AsyncGenerator[T, None]]) -> AsyncGenerator[tuple[str, T], None]:
    """``(name, item)`` of every stream. Items of one stream keep their order. Close it (``aclosing``) when done."""
    queue: asyncio.Queue[tuple[str, T | None, Exception | None]] = asyncio.Queue(_QUEUE_ITEMS)

    async def pump(name: str, stream: AsyncGenerator[T, None]) -> None:
        try:
            async with contextlib.aclosing(stream):
                async for item in stream:
                    await queue.put((name, item, None))
            raise Transient(f"the stream {name} ended")
        except Exception as err:
            await queue.put((name, None, err))

    tasks = [asyncio.create_task(pump(name, stream)) for name, stream in streams.items()]
    try:
        while True:
            name, item, error = await queue.get()
            if error is not None:
                raise error
            assert item is not None
            yield name, item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
