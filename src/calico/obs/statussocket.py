"""A daemon's status over a local unix socket: connect, read one JSON document, done.

The socket is a file, so it is reached across network namespaces and guarded by file mode 0600.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from calico.errors import Transient
from calico.obs.unixsocket import serve

__all__ = ["StatusServer", "read_status"]

_WRITE_TIMEOUT_S = 2.0


class StatusServer:
    """Serves what ``provider`` returns at the moment of each connection."""

    def __init__(self, path: Path | str, provider: Callable[[], dict[str, Any]]) -> None:
        self._path = Path(path)
        self._provider = provider

    async def run(self) -> None:
        """Serve until cancelled."""
        await serve(self._path, self._answer)

    async def _answer(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(json.dumps(self._provider(), separators=(",", ":")).encode() + b"\n")
            async with asyncio.timeout(_WRITE_TIMEOUT_S):
                await writer.drain()
        except (OSError, TimeoutError):
            pass  # the reader went away; nothing depends on it
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def read_status(path: Path | str, timeout_s: float = 2.0) -> dict[str, Any]:
    """The status document behind a socket; Transient when no daemon answers there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout_s)
        try:
            sock.connect(str(path))
            chunks = []
            while chunk := sock.recv(65536):
                chunks.append(chunk)
            document = json.loads(b"".join(chunks))
        except (OSError, ValueError) as error:
            raise Transient(f"no daemon answers at {path}: {error}") from error
    if not isinstance(document, dict):
        raise Transient(f"the answer at {path} is not a status document")
    return document
