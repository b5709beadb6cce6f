"""Records kept on disk: ``flows.log`` and its predecessors ``flows.log.1`` (the youngest) and so on, JSON lines.

Writing never fails its caller: what cannot be written is counted, and why is told.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["NAME", "Journal", "read_journal"]

NAME = "flows.log"
_MODE = 0o600


class Journal:
    """Always true: at most ``files`` files of about ``size`` bytes each. ``trouble``: why nothing is written now."""

    def __init__(self, directory: Path, *, size: int, files: int) -> None:
        self._path = directory / NAME
        self._size = size
        self._files = files
        self._fd: int | None = None
        self._written = 0
        self.lost = 0
        self.trouble = ""

    def write(self, lines: list[bytes]) -> None:
        """Append lines (without their ends)."""
        data = b"\n".join(lines) + b"\n"
        try:
            self._open()
            assert self._fd is not None
            done = os.write(self._fd, data)
            self._written += done
            if done < len(data):
                raise OSError(f"only {done} of {len(data)} bytes were written")
            self.trouble = ""
        except OSError as error:
            self.lost += len(lines)
            self.trouble = f"{self._path}: {error.strerror or error}"
            self.close()

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self) -> None:
        """The file to write to now: the present one, or a new one when that is full or was taken away."""
        if self._fd is not None and (self._written >= self._size or not os.fstat(self._fd).st_nlink):
            self.close()
        if self._fd is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists() and self._path.stat().st_size >= self._size:
                self._rotate()
            self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
            self._written = os.fstat(self._fd).st_size
            if self._written and os.pread(self._fd, 1, self._written - 1) != b"\n":
                os.write(self._fd, b"\n")  # an earlier write was cut off

    def _rotate(self) -> None:
        for number in range(self._files - 1, 0, -1):
            older = _numbered(self._path, number)
            if older.exists():
                if number + 1 >= self._files:
                    older.unlink()
                else:
                    older.replace(_numbered(self._path, number + 1))
        if self._files > 1:
            self._path.replace(_numbered(self._path, 1))
        else:
            self._path.unlink()


def read_journal(directory: Path) -> Iterator[bytes]:
    """All lines that are there, the oldest first. OSError when there is no journal or it may not be read."""
    present = directory / NAME
    numbers = [path.name.removeprefix(f"{NAME}.") for path in directory.glob(f"{NAME}.*")]
    older = [_numbered(present, number) for number in sorted((int(n) for n in numbers if n.isdigit()), reverse=True)]
    for path in (*older, present):
        with path.open("rb") as file:
            yield from file


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
