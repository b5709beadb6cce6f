"""What kernel settings were before we changed them, for whoever takes Calico off this host.

A file of JSON lines ``[path, index of the interface or 0, value]``, written before the settings are. It lives where
it is lost with a reboot, as the settings are. Of an interface that was made anew nothing is remembered.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import structlog

__all__ = ["ROOT", "SettingsRecord", "restore"]

log = structlog.get_logger(__name__)

ROOT: Final = Path("/proc/sys/net")

_ALSO: Final[Mapping[str, tuple[str, ...]]] = {
    "ipv4/ip_forward": ("ipv4/conf/*/forwarding", "ipv4/conf/*/accept_redirects", "ipv4/conf/*/send_redirects"),
    "ipv6/conf/all/forwarding": ("ipv6/conf/*/forwarding",),
}
"""What the kernel changes together with a setting of the whole host."""

_DEAD_LINES: Final = 1000


class SettingsRecord:
    """Remembers the first value of each setting. Never fails: trouble with the file is logged, once."""

    def __init__(self, path: Path, *, root: Path = ROOT) -> None:
        self._path = path
        self._root = root
        self._known = _load(path)
        self._lines = 0
        self._pending: list[str] = []
        self._in_trouble = False

    def before_write(self, paths: Iterable[str]) -> None:
        """These are about to be written."""
        lines = []
        for path in self._with_others(paths):
            index = _index_of(path)
            if self._known.get(path, (-1, ""))[0] == index:
                continue
            value = _read(self._root / path)
            if value is not None:
                self._known[path] = (index, value)
                lines.append(_line(path, index, value))
        if lines:
            self._append(lines)

    def _with_others(self, paths: Iterable[str]) -> Iterable[str]:
        for path in paths:
            for pattern in _ALSO.get(path, ()):
                for found in sorted(self._root.glob(pattern)):
                    yield str(found.relative_to(self._root))
            yield path

    def _append(self, lines: list[str]) -> None:
        """What a full disk did not take is written with what comes next."""
        self._pending += lines
        try:
            if self._lines + len(self._pending) > 2 * len(self._known) + _DEAD_LINES:
                self._rewrite()
            else:
                with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w") as file:
                    file.writelines(["\n", *self._pending])  # the line before may have been cut off
                self._lines += len(self._pending) + 1
        except OSError as error:
            if not self._in_trouble:
                log.warning("what settings were cannot be remembered", file=str(self._path), error=str(error))
            self._in_trouble = True
        else:
            self._in_trouble = False
            self._pending = []

    def _rewrite(self) -> None:
        """Without what was overtaken and what is gone."""
        self._known = {path: known for path, known in self._known.items() if _index_of(path) == known[0]}
        partial = self._path.with_name(self._path.name + ".new")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.writelines(_line(path, index, value) for path, (index, value) in self._known.items())
        os.replace(partial, self._path)
        self._lines = len(self._known)


def restore(record: Path, *, root: Path = ROOT, dry_run: bool = False) -> tuple[list[str], list[str]]:
    """Set everything back that is not as it was: what is set back (or would be), and what could not be."""
    known = {path: value for path, (index, value) in _load(record).items() if _index_of(path) == index}
    first = [path for path in _ALSO if path in known]
    found = {path: _read(root / path) for path in [*first, *(path for path in known if path not in first)]}
    wrong = {path: now for path, now in found.items() if now is not None and now != known[path]}
    failed: dict[str, str] = {}
    for path in wrong if not dry_run else ():
        if _read(root / path) != known[path]:  # it may have gone with a setting of the whole host
            try:
                (root / path).write_text(known[path])
            except OSError as error:
                failed[path] = f"{path}: {error.strerror}"
    done = [f"{path}: {now} -> {known[path]}" for path, now in wrong.items() if path not in failed]
    return done, list(failed.values())


def _load(record: Path) -> dict[str, tuple[int, str]]:
    """The latest line of each setting; a line that is cut off is none."""
    known: dict[str, tuple[int, str]] = {}
    try:
        lines = record.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return known
    for line in lines:
        try:
            path, index, value = json.loads(line)
        except (ValueError, TypeError):
            continue
        if isinstance(path, str) and isinstance(index, int) and isinstance(value, str) and ".." not in path:
            known[path] = (index, value)
    return known


def _line(path: str, index: int, value: str) -> str:
    return json.dumps([path, index, value]) + "\n"


def _index_of(path: str) -> int:
    """The number of the interface that a setting is of: another one of the same name has another number."""
    parts = path.split("/")
    if len(parts) < 4 or parts[2] in ("all", "default"):
        return 0
    try:
        return socket.if_nametoindex(parts[2])
    except OSError:
        return -2


def _read(file: Path) -> str | None:
    try:
        return file.read_text().strip()
    except OSError:
        return None
