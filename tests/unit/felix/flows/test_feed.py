"""Records over the socket: every client gets them, a slow one is told what it lost, nobody waits."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from calico.felix.flows.feed import SOCKET, Feed


def test_clients_get_what_comes_and_a_slow_one_is_told_how_much_it_lost(tmp_path: Path) -> None:
    async def go() -> None:
        feed = Feed(tmp_path / SOCKET)
        serving = asyncio.create_task(feed.run())
        while not (tmp_path / SOCKET).exists():
            await asyncio.sleep(0)
        assert (tmp_path / SOCKET).stat().st_mode & 0o777 == 0o600
        feed.publish([b"nobody listens"])
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / SOCKET))
        while not feed.clients:
            await asyncio.sleep(0)
        feed.publish([b"1", b"2"])
        assert [await reader.readline(), await reader.readline()] == [b"1\n", b"2\n"]
        feed.publish([b"%d" % number for number in range(5000)])
        lines = [await reader.readline() for _ in range(4097)]
        assert lines[0] == b"0\n"
        assert json.loads(lines[-1]) == {"lost": 904}
        assert feed.lost == 904
        writer.close()
        while feed.clients:
            await asyncio.sleep(0)
        serving.cancel()

    async def bounded() -> None:
        async with asyncio.timeout(30):
            await go()

    asyncio.run(bounded())
