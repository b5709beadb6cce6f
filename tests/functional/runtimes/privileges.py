"""Whether this machine lets anybody run containers at all: overlay mounts, cgroups, namespaces of processes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

__all__ = ["what_is_missing"]

_CGROUPS = Path("/sys/fs/cgroup")


def what_is_missing(folder: Path) -> str:
    """The first privilege that is not there, as a sentence; empty when all are. Nothing stays behind."""
    return _overlay(folder) or _namespaces() or _cgroups()


def _overlay(folder: Path) -> str:
    for name in ("lower", "upper", "work", "merged"):
        (folder / name).mkdir()
    options = f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work"
    trouble = _trouble("mount", "-t", "overlay", "overlay", "-o", options, f"{folder}/merged")
    if not trouble:
        subprocess.run(["umount", f"{folder}/merged"], check=True)
    return trouble and f"containers need overlay mounts: {trouble}"


def _namespaces() -> str:
    trouble = _trouble("unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "true")
    return trouble and f"containers need namespaces: {trouble}"


def _cgroups() -> str:
    controllers = [path for path in _CGROUPS.iterdir() if path.is_dir()] if _CGROUPS.is_dir() else []
    places = [path for path in controllers if path.name == "pids"] or [_CGROUPS]
    group = places[0] / f"calico-probe-{os.getpid()}"
    try:
        group.mkdir()
        group.rmdir()
    except OSError as error:
        return f"containers need cgroups: {error}"
    return ""


def _trouble(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip() or f"{command[0]} ends with {done.returncode}"
