"""What this host attached, or began to: a small file each, written before anything else and removed last.

Without it a GC would have to search the cluster's addresses for those of containers that died half attached. It
survives a reboot, as endpoints and addresses do, and is on the disk before the endpoint is written: otherwise a host
that loses power could keep an endpoint in the datastore of which it knows nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from calico.ipam.steps.sharedreads import SharedReads
from calico.orchestrators.cni.names import Attached
from calico.orchestrators.cni.netconf import MALFORMED

__all__ = ["DEFAULT_DIRECTORY", "Record", "Records"]

DEFAULT_DIRECTORY: Final = "/var/lib/calico/cni"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """An attachment with what its removal needs: the path and number of the container's namespace, and the network
    configuration as it came."""

    attached: Attached
    host_interface: str
    netns: str = ""
    inode: int = 0
    config: str = ""


class Records:
    """The records of one host, in a directory that only root reads."""

    def __init__(self, directory: Path | str) -> None:
        self._directory = Path(directory)
        self._unsettled: set[Path] = set()
        self._settling = SharedReads[str, None]()

    def write(self, record: Record) -> None:
        """Remember an attachment."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(record.attached)
        partial = path.with_suffix(".part")
        partial.write_bytes(msgspec.json.encode(record))
        os.replace(partial, path)
        self._unsettled.add(path)

    async def settle(self) -> None:
        """Return when all that was written before is on the disk; those that come together share one write of it."""
        await self._settling.read("", self._settle)

    async def _settle(self) -> None:
        written, self._unsettled = self._unsettled, set()
        try:
            if written:
                await asyncio.to_thread(_sync, written, self._directory)
        except OSError:
            self._unsettled |= written
            raise

    def forget(self, attached: Attached) -> None:
        """Forget an attachment, if it is known."""
        path = self._path(attached)
        self._unsettled.discard(path)
        path.unlink(missing_ok=True)

    def all(self) -> Iterator[Record]:
        """Every attachment that can be read."""
        try:
            paths = sorted(self._directory.glob("*.json"))
        except OSError:
            return
        for path in paths:
            with suppress(OSError, *MALFORMED):
                yield msgspec.json.decode(path.read_bytes(), type=Record)

    def _path(self, attached: Attached) -> Path:
        identity = "\0".join((attached.node, attached.network, attached.container_id, attached.interface))
        return self._directory / f"{hashlib.sha256(identity.encode()).hexdigest()[:40]}.json"


def _sync(paths: Collection[Path], directory: Path) -> None:
    for path in paths:
        with suppress(FileNotFoundError):  # forgotten meanwhile
            _sync_one(path)
    _sync_one(directory)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
