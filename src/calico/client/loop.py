"""One event loop in one background thread, in which a synchronous client does its work."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from concurrent.futures import CancelledError, Future, wait
from typing import Any, TypeVar

__all__ = ["LoopThread"]

T = TypeVar("T")

_CANCEL_S = 5.0


class LoopThread:
    """Runs coroutines for threads that have no loop. Ends with ``close``, or with the process."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._pid = os.getpid()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._tasks: dict[Future[Any], asyncio.Task[Any]] = {}
        self._thread = threading.Thread(target=_work, args=(self._loop,), name="calico-client", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it is of this process and has not been closed."""
        return self._pid == os.getpid() and not self._closing.is_set()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``, or its error. An interrupt of the waiting thread cancels it, and waits for its end.

        RuntimeError when it is closed, also meanwhile; in a process forked from the one that made it; and in its own
        thread, which would wait for itself.
        """
        outcome: Future[T] = Future()
        if not (fault := self._fault()):
            try:
                if not (fault := self._submit(work, outcome)):
                    return outcome.result()
            except CancelledError:
                raise RuntimeError(self._fault() or "the call was cancelled") from None
            except BaseException:  # an interrupt, perhaps before the loop had the work
                if not outcome.done() and self.running:
                    self._loop.call_soon_threadsafe(self._cancel, outcome)
                    if wait([outcome], _CANCEL_S).done:
                        work.close()
                raise
        work.close()
        raise RuntimeError(fault)

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
                self._begin(_close(items), Future())
            elif self.running:
                self.run(items.aclose())

    def close(self, last: Coroutine[Any, Any, object] | None = None) -> None:
        """Cancel what runs, do ``last``, and stop the loop and its thread; once more does nothing.

        In a forked process nothing is done: the connection is the parent's.
        """
        outcome: Future[object] = Future()
        in_own_thread = threading.current_thread() is self._thread
        end = self._end(last)
        if fault := self._fault() or self._submit(end, outcome, closing=True):
            end.close()
            if last is not None:
                last.close()
            if in_own_thread:
                raise RuntimeError(fault)
            return
        try:
            outcome.result()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def _fault(self) -> str:
        """Why nothing can be run; empty when it can."""
        if self._pid != os.getpid():
            return "the client was made before the process forked: connect anew in the child"
        if threading.current_thread() is self._thread:
            return "the client is called in its own thread (by a callback), where nothing may wait for it"
        return "the client is closed" if self._closing.is_set() else ""

    def _submit(self, work: Coroutine[Any, Any, T], outcome: Future[T], closing: bool = False) -> str:
        with self._lock:
            if self._closing.is_set():
                return "the client is closed"
            if closing:
                self._closing.set()
            self._loop.call_soon_threadsafe(self._begin, work, outcome)
            return ""

    def _begin(self, work: Coroutine[Any, Any, T], outcome: Future[T]) -> None:
        def settle(task: asyncio.Task[T]) -> None:
            del self._tasks[outcome]
            if task.cancelled():
                outcome.set_exception(CancelledError())
            elif (error := task.exception()) is not None:
                outcome.set_exception(error)
            else:
                outcome.set_result(task.result())

        self._tasks[outcome] = task = self._loop.create_task(work)
        task.add_done_callback(settle)

    def _cancel(self, outcome: Future[Any]) -> None:
        if (task := self._tasks.get(outcome)) is not None:
            task.cancel()
        elif not outcome.done():
            outcome.set_exception(CancelledError())

    async def _end(self, last: Coroutine[Any, Any, object] | None) -> None:
        others = [task for task in self._tasks.values() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=_CANCEL_S)
        if last is not None:
            await last


def _work(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until it is stopped; ``sys.exit`` in a callback is for him who waits, and ends only his call."""
    while True:
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt):
            continue
        return


async def _close(items: AsyncGenerator[Any, None]) -> None:
    await items.aclose()


async def _next(items: AsyncGenerator[T, None]) -> T:
    return await anext(items)
