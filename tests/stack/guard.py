"""Ends a stack whose test run died: waits for its standard input to end, then kills and removes. Run as a program.

A run that ends as it should says so by a line first.
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
    """Watches over the process groups whose leaders are named in ``directory``/pids."""

    def __init__(self, directory: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(directory)], stdin=subprocess.PIPE, start_new_session=True
        )

    def dismiss(self) -> None:
        """Everything was ended."""
        self._process.communicate(b"ended\n")


def _end(directory: Path) -> None:
    for pid in (directory / "pids").read_text().split():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(pid), signal.SIGKILL)
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    if not sys.stdin.read():
        _end(Path(sys.argv[1]))
