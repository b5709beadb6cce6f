"""Records as they come, over a local socket: a client connects and reads JSON lines until it goes away.

A client that does not keep up loses records, and is told how many (``{"lost": n}``); nobody waits for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from calico.obs.unixsocket import serve

__all__ = ["SOCKET", "Feed"]

SOCKET: Final = "felix-flows.sock"
_WAITING_MAX: Final = 4096
_CLIENTS_MAX: Final = 16


class _Client:
    def __init__(self) -> None:
        self.lines: deque[bytes] = deque()
        self.lost = 0
        self.wake = asyncio.Event()


class Feed:
    """Felix's side. ``lost``: records that clients were too slow for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._clients: set[_Client] = set()
        self.lost = 0

    @property
    def clients(self) -> int:
        return len(self._clients)

    def publish(self, lines: Iterable[bytes]) -> None:
        """Offer records (without line ends) to all that listen."""
        for client in self._clients:
            for line in lines:
                if len(client.lines) < _WAITING_MAX:
                    client.lines.append(line)
                else:
                    client.lost += 1
                    self.lost += 1
            client.wake.set()

    async def run(self) -> None:
        """Serve until cancelled."""
        await serve(self._path, self._serve)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _Client()
        if len(self._clients) < _CLIENTS_MAX:
            self._clients.add(client)
        gone = asyncio.create_task(reader.read(1))
        gone.add_done_callback(lambda _: client.wake.set())
        try:
            while client in self._clients and not gone.done():
                await client.wake.wait()
                client.wake.clear()
                data = b"".join(line + b"\n" for line in client.lines)
                client.lines.clear()
                if client.lost:
                    data += b'{"lost":%d}\n' % client.lost
                    client.lost = 0
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # the reader went away; nothing depends on it
        finally:
            self._clients.discard(client)
            gone.cancel()
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
