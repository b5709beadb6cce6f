"""One event loop in one background thread, in which a synchronous client does its work."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any, TypeVar

__all__ = ["LoopThread"]

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for threads that have no loop. Ends with ``close``, or with the process."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._closing: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="calico-client", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it has not been closed."""
        return not self._loop.is_closed()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``, or its error. An interrupt of the waiting thread cancels it."""
        if not self.running:
            work.close()
            raise RuntimeError("the client is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, items: AsyncGenerator[T, None]) -> Iterator[T]:
        """The items of an asynchronous generator; abandoning the iterator ends it."""
        try:
            while True:
                try:
                    yield self.run(_next(items))
                except StopAsyncIteration:
                    return
        finally:
            if threading.current_thread() is self._thread:  # collected there as garbage: nobody may wait for himself
                self._closing.add(closing := self._loop.create_task(_close(items)))
                closing.add_done_callback(self._closing.discard)
            elif self.running:
                self.run(items.aclose())

    def close(self) -> None:
        """Stop the loop and its thread."""
        if self.running:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()


async def _close(items: AsyncGenerator[Any, None]) -> None:
    await items.aclose()


async def _next(items: AsyncGenerator[T, None]) -> T:
    return await anext(items)
