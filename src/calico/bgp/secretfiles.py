"""Passwords that an operator put on this host: ``<directory>/<secret>/<key>``, readable by their owner alone.

The layout is that of a mounted Kubernetes secret, symbolic links included.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from calico.bgp.secret import Refused, Secret, SecretRef
from calico.errors import InvalidInput

__all__ = ["SecretFiles"]

_LOOK_EVERY_S = 2.0
_READ_AT_MOST = 4096
_OTHERS_READ = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class SecretFiles:
    """Reads the files that are asked for, and looks now and then whether one of these has changed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read: dict[SecretRef, Secret | Refused] = {}
        self._wanted: frozenset[SecretRef] = frozenset()
        self.on_change: Callable[[], None] = lambda: None

    def read(self, wanted: Iterable[SecretRef]) -> dict[SecretRef, Secret | Refused]:
        """What is there of ``wanted``, now."""
        self._wanted = frozenset(wanted)
        found = ((secret, self._look_up(secret)) for secret in sorted(self._wanted))
        self._read = {secret: value for secret, value in found if value is not None}
        return dict(self._read)

    async def run(self) -> None:
        """Say when a file that was asked for has changed, for ever."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            before = self._read
            if self.read(self._wanted) != before:
                self.on_change()

    def _look_up(self, secret: SecretRef) -> Secret | Refused | None:
        folder = self._directory / secret.name
        try:
            for path in (self._directory, folder):
                _check_folder(path)
            return Secret.of_bytes(_read_private(folder / secret.key))
        except FileNotFoundError:
            return None
        except OSError as error:
            return Refused(f"{folder / secret.key} cannot be read: {error.strerror}")
        except InvalidInput as error:
            return Refused(f"{error.subject or folder / secret.key} {error.message}")


def _check_folder(path: Path) -> None:
    """Nobody else may put files there: a sticky folder lets others add files, but not exchange any."""
    found = path.stat()
    if found.st_uid not in (0, os.geteuid()):
        raise InvalidInput("belongs to another user", subject=str(path))
    if found.st_mode & _OTHERS_WRITE and not found.st_mode & stat.S_ISVTX:
        raise InvalidInput("can be written by others", subject=str(path))


def _read_private(path: Path) -> bytes:
    """The content of a regular file that only its owner, root or us, can read; judged on the open file itself."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise InvalidInput("is no regular file")
        if found.st_uid not in (0, os.geteuid()):
            raise InvalidInput("belongs to another user")
        if found.st_mode & _OTHERS_READ:
            raise InvalidInput("can be read by others; it must have mode 0600 or 0400")
        return os.read(descriptor, _READ_AT_MOST)
    finally:
        os.close(descriptor)
