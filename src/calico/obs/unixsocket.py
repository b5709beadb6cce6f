"""A local socket of a daemon, for its own user only."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

__all__ = ["Handler", "serve"]

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def serve(path: Path, handler: Handler) -> None:
    """Hand every connection to ``handler`` until cancelled; a stale socket file of a dead predecessor is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    old_mask = os.umask(0o177)
    try:
        server = await asyncio.start_unix_server(handler, path=str(path))
    finally:
        os.umask(old_mask)
    try:
        async with server:
            await server.serve_forever()
    finally:
        path.unlink(missing_ok=True)
