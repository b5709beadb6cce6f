"""Who waits for an endpoint is told when it is programmed, and why it is not yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from calico.errors import Transient
from calico.obs.programmed import Programmed, ProgrammedServer, Question, await_programmed, is_programming

ASKED = Question("default/e", 7)


@asynccontextmanager
async def serving(server: ProgrammedServer) -> AsyncIterator[None]:
    task = asyncio.create_task(server.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_the_answer_comes_with_the_apply_that_has_it(tmp_path: Path) -> None:
    state = {"default/e": 0}
    asked: list[Question] = []

    def answer(question: Question) -> Programmed:
        asked.append(question)
        return Programmed(done=state[question.endpoint] >= question.revision, why="not yet")

    server = ProgrammedServer(tmp_path / "p.sock", answer)
    async with serving(server):
        waiting = asyncio.create_task(await_programmed(tmp_path / "p.sock", ASKED, 20))
        while not asked:
            await asyncio.sleep(0)
        server.on_applied()
        assert not waiting.done()
        state["default/e"] = 7
        server.on_applied()
        assert (await waiting).done
    assert set(asked) == {ASKED}


async def test_the_last_reason_is_told_when_time_is_up(tmp_path: Path) -> None:
    server = ProgrammedServer(tmp_path / "p.sock", lambda _: Programmed(why="it is down", error=True))
    async with serving(server):
        answer = await await_programmed(tmp_path / "p.sock", ASKED, 0.3)
    assert answer == Programmed(why="it is down", error=True)


async def test_a_felix_that_is_away_is_waited_for_and_named(tmp_path: Path) -> None:
    path = tmp_path / "p.sock"
    assert "Felix does not answer" in (await await_programmed(path, ASKED, 0.05)).why
    with pytest.raises(Transient, match="Felix does not answer"):
        await is_programming(path, 0.05)
    waiting = asyncio.create_task(await_programmed(path, ASKED, 20))
    await asyncio.sleep(0)
    async with serving(ProgrammedServer(path, lambda _: Programmed(done=True))):
        assert (await waiting).done


async def test_a_question_that_cannot_be_read_harms_nobody(tmp_path: Path) -> None:
    server = ProgrammedServer(tmp_path / "p.sock", lambda _: Programmed(done=True))
    async with serving(server):
        while not (tmp_path / "p.sock").exists():
            await asyncio.sleep(0)
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "p.sock"))
        writer.write(b"what\n")
        assert await reader.read() == b""
        writer.close()
        assert (await await_programmed(tmp_path / "p.sock", ASKED, 20)).done
