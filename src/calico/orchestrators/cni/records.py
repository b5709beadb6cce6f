"""What this host attached, or began to: a small file each, written before anything else and removed last.

Without it a GC would have to search the cluster's addresses for those of containers that died half attached. It
survives a reboot, as endpoints and addresses do. Losing it loses nothing but that help.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from calico.orchestrators.cni.names import Attached
from calico.orchestrators.cni.netconf import MALFORMED

__all__ = ["DEFAULT_DIRECTORY", "Record", "Records"]

DEFAULT_DIRECTORY: Final = "/var/lib/calico/cni"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """An attachment with what its removal needs; ``config`` is the network configuration as it came."""

    attached: Attached
    host_interface: str
    netns: str = ""
    config: str = ""


class Records:
    """The records of one host, in a directory that only root reads."""

    def __init__(self, directory: Path | str) -> None:
        self._directory = Path(directory)

    def write(self, record: Record) -> None:
        """Remember an attachment."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(record.attached)
        partial = path.with_suffix(".part")
        partial.write_bytes(msgspec.json.encode(record))
        os.replace(partial, path)

    def forget(self, attached: Attached) -> None:
        """Forget an attachment, if it is known."""
        with suppress(FileNotFoundError):
            self._path(attached).unlink()

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
