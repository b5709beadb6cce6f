"""Local sockets of a daemon: for its user only, whoever else starts something at that moment."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

from calico.obs.unixsocket import serve


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.readline())
    await writer.drain()
    writer.close()


async def test_sockets_that_start_together_are_private_and_leave_the_mask_of_the_process_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    paths = [tmp_path / f"{n}.sock" for n in range(3)]
    try:
        servers = [asyncio.create_task(serve(path, _echo)) for path in paths]
        while not all(path.exists() for path in paths):
            (tmp_path / "meanwhile").mkdir(exist_ok=True)
            await asyncio.sleep(0)
        for path in paths:
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(b"hello\n")
            assert await reader.readline() == b"hello\n"
            writer.close()
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "meanwhile").stat().st_mode) == 0o755
        assert os.umask(0o022) == 0o022
        for server in servers:
            server.cancel()
        await asyncio.gather(*servers, return_exceptions=True)
        assert not any(path.exists() for path in paths)
    finally:
        os.umask(before)
