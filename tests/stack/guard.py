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
    """Watches over what files in ``directory`` name: process groups by their leaders (pids), network namespaces
    (namespaces), labs (labs), cgroups (cgroups), settings of the kernel with their values from before (sysctls)."""

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
    for lab in _words(directory / "labs"):
        subprocess.run([sys.executable, "-m", "calico", "lab", "down", lab], check=False)
    for cgroup in _words(directory / "cgroups"):
        _end_cgroup(cgroup)
    settings = _words(directory / "sysctls")
    for path, value in zip(settings[::2], settings[1::2], strict=True):
        Path(path).write_text(value)
    shutil.rmtree(directory, ignore_errors=True)


def _end_cgroup(cgroup: str) -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from functional.runtimes.leftovers import end_cgroup

    end_cgroup(cgroup)


def _words(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


if __name__ == "__main__":
    if not sys.stdin.read():
        _end(Path(sys.argv[1]))
