"""What is known of this host's instances, on disk: what is answered after a restart while the datastore is away.

Written beside and renamed, so that a file is whole or the one before. A file that cannot be read is like none.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import structlog

from calico.orchestrators.openstack.compute.view import Known

__all__ = ["Cache"]

log = structlog.get_logger(__name__)

_FORMAT: Final = 1
_SETTLE_S: Final = 0.5
_AGAIN_S: Final = 10.0


class _File(msgspec.Struct, frozen=True):
    format: int
    node: str
    region: str
    known: Known


class Cache:
    """A service of the daemon: ``changed`` may be called as often as one likes."""

    def __init__(self, path: Path, node: str, region: str) -> None:
        self._path, self._node, self._region = path, node, region
        self._dirty = asyncio.Event()
        self._writing = threading.Lock()  # the last writing may come while one in a thread is not done
        self.trouble = ""
        """Why it could not be written; empty when it could."""

    def read(self) -> Known:
        """What was known; nothing when there is no file, or it is of another host, region or format."""
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=_File)
        except FileNotFoundError:
            return Known()
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            log.warning("what was known cannot be read, and is left out", file=str(self._path), error=str(error))
            return Known()
        if (found.format, found.node, found.region) != (_FORMAT, self._node, self._region):
            log.warning("what was known is of another host", file=str(self._path), node=found.node)
            return Known()
        return found.known

    def changed(self) -> None:
        """There is something new to remember."""
        self._dirty.set()

    async def run(self, known: Callable[[], Known]) -> None:
        """Write what is new, at most twice a second; until cancelled, and then once more if need be."""
        try:
            while True:
                await self._dirty.wait()
                await asyncio.sleep(_SETTLE_S)
                self._dirty.clear()
                await asyncio.to_thread(self._write, known())
                if self.trouble:
                    await asyncio.sleep(_AGAIN_S)
                    self._dirty.set()
        finally:
            if self._dirty.is_set():
                self._write(known())

    def _write(self, known: Known) -> None:
        with self._writing:
            self._write_whole(known)

    def _write_whole(self, known: Known) -> None:
        beside = self._path.with_name(f".{self._path.name}.new")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            data = msgspec.json.encode(_File(_FORMAT, self._node, self._region, known))
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
        except OSError as error:
            self.trouble = f"{self._path}: {error}"
            log.warning("what is known could not be remembered", error=self.trouble)
        else:
            self.trouble = ""
