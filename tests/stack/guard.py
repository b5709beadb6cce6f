"""Ends a stack whose test run died: waits for its standard input to end, then kills and removes. Run as a program.

A run that ends as it should says so by a line first. Knows nothing of the project, since it runs as a file.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

__all__ = ["Guard"]


class Guard:
    """Watches over the process groups whose leaders are named in ``directory``/pids, and the network namespaces that
    are named in ``directory``/namespaces."""

    def __init__(self, directory: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(directory)], stdin=subprocess.PIPE, start_new_session=True
        )

    def dismiss(self) -> None:
        """Everything was ended."""
        self._process.communicate(b"ended\n")


def _end(directory: Path) -> None:
    for pid in _words(directory / "pids"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(pid), signal.SIGKILL)
    for name in _words(directory / "namespaces"):
        subprocess.run(["ip", "netns", "delete", name], check=False, stderr=subprocess.DEVNULL)
    shutil.rmtree(directory, ignore_errors=True)


def _words(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


if __name__ == "__main__":
    if not sys.stdin.read():
        _end(Path(sys.argv[1]))
