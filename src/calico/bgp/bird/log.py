"""What BIRD's log tells that nothing else does: it cannot listen, or the kernel dropped messages."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

__all__ = ["Happening", "LogFollower", "happenings"]

Happening = Literal["bird-listen-failed", "bird-netlink-dropped"]

_SIGNS: tuple[tuple[re.Pattern[str], Happening], ...] = (
    (re.compile(r"<ERR> .*(?:[Cc]annot open listening socket|bind: Address already in use)"), "bird-listen-failed"),
    (re.compile(r"Kernel dropped some netlink messages"), "bird-netlink-dropped"),
)
_READ_AT_ONCE = 1 << 20


def happenings(lines: Iterable[str]) -> list[Happening]:
    """The signs in lines of the log, in order. Pure."""
    return [what for line in lines for pattern, what in _SIGNS if pattern.search(line)]


class LogFollower:
    """Reads what was added to a log since the last time, across rotation; starts at the end of an existing one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode, self._position = self._where()

    def read(self) -> list[Happening]:
        """The signs in the complete lines that are new; none when there is no log."""
        inode, size = self._where()
        if inode != self._inode or size < self._position:
            self._inode, self._position = inode, 0
        if size == self._position:
            return []
        try:
            with open(self._path, "rb") as file:
                file.seek(self._position)
                data = file.read(_READ_AT_ONCE)
        except OSError:
            return []
        complete = data.rfind(b"\n") + 1
        self._position += complete
        return happenings(data[:complete].decode("utf-8", "replace").splitlines())

    def _where(self) -> tuple[int, int]:
        try:
            found = self._path.stat()
        except OSError:
            return 0, 0
        return found.st_ino, found.st_size
