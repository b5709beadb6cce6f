"""The thread in which a synchronous client works."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor

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


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    made = LoopThread()
    yield made
    made.close()


async def for_ever(started: threading.Event) -> AsyncGenerator[int, None]:
    started.set()
    await asyncio.Event().wait()
    yield 1


@pytest.mark.timeout(30)
def test_closing_ends_what_another_thread_waits_for() -> None:
    thread, started = LoopThread(), threading.Event()
    errors: list[str] = []

    def follow() -> None:
        try:
            next(thread.iterate(for_ever(started)))
        except RuntimeError as error:
            errors.append(str(error))

    follower = threading.Thread(target=follow)
    follower.start()
    started.wait()
    thread.close()
    follower.join()
    assert errors == ["the client is closed"]


@pytest.mark.timeout(30)
def test_an_interrupt_ends_a_watch_and_is_what_the_script_sees(thread: LoopThread) -> None:
    started, old = threading.Event(), signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt() -> None:
        started.wait()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    try:
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            next(thread.iterate(for_ever(started)))
    finally:
        signal.signal(signal.SIGINT, old)
    assert thread.run(asyncio.sleep(0, "goes on")) == "goes on"


@pytest.mark.timeout(30)
def test_a_callback_that_calls_the_client_is_told_so(thread: LoopThread) -> None:
    async def calls_back() -> None:
        thread.run(asyncio.sleep(0))

    async def closes() -> None:
        thread.close()

    for wrong in (calls_back, closes):
        with pytest.raises(RuntimeError, match="in its own thread"):
            thread.run(wrong())


@pytest.mark.timeout(30)
def test_an_exit_in_a_callback_ends_the_call_alone(thread: LoopThread) -> None:
    async def leaves() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit, match="3"):
        thread.run(leaves())
    assert thread.run(asyncio.sleep(0, "goes on")) == "goes on"


FORK = """
import asyncio, os
from calico.client.loop import LoopThread
thread = LoopThread()
thread.run(asyncio.sleep(0))
child = os.fork()
if not child:
    try:
        thread.run(asyncio.sleep(0))
    except RuntimeError as error:
        os.write(1, str(error).encode())
    thread.close()
    os._exit(7)
print(" ended with", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
thread.close()
"""


@pytest.mark.timeout(60)
def test_a_forked_process_is_told_to_connect_anew() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=True, timeout=50)
    assert done.stdout == "the client was made before the process forked: connect anew in the child ended with 7\n"


@pytest.mark.timeout(60)
def test_many_threads_share_it_and_none_is_left(thread: LoopThread) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda n: thread.run(asyncio.sleep(0, n)), range(200))) == list(range(200))
    thread.close()
    assert "calico-client" not in [found.name for found in threading.enumerate()]
