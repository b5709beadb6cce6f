"""The status socket: one document a connection, over a file that only its owner may open."""

import asyncio
import stat
from pathlib import Path

import pytest

from calico.errors import Transient
from calico.obs.statussocket import StatusServer, read_status


async def test_each_connection_reads_the_status_of_that_moment(tmp_path: Path) -> None:
    path, count = tmp_path / "x.sock", iter(range(10))
    task = asyncio.create_task(StatusServer(path, lambda: {"n": next(count)}).run())
    while not path.exists():
        await asyncio.sleep(0)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [await asyncio.to_thread(read_status, path) for _ in range(2)] == [{"n": 0}, {"n": 1}]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not path.exists()


async def test_the_socket_file_of_a_dead_predecessor_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    path.write_text("left over")
    task = asyncio.create_task(StatusServer(path, lambda: {"ok": True}).run())
    while not path.is_socket():
        await asyncio.sleep(0)
    assert await asyncio.to_thread(read_status, path) == {"ok": True}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_a_daemon_that_does_not_answer_is_named_by_its_socket(tmp_path: Path) -> None:
    with pytest.raises(Transient, match=r"x\.sock"):
        read_status(tmp_path / "x.sock")
