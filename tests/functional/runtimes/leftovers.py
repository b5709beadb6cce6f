"""What outlives a container runtime: processes in its cgroups, shims, mounts. Only a test's own, told by its names."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["end_cgroup", "end_shims", "unmount_below"]


def end_cgroup(cgroup: str) -> None:
    """Kill what runs in this test's own cgroups, and remove them."""
    for controller in Path("/sys/fs/cgroup").iterdir():
        top = controller / cgroup.lstrip("/")
        folders = [*sorted(top.rglob("*/"), reverse=True), top] if top.is_dir() else []
        for folder in folders:
            with suppress(OSError):
                for pid in (folder / "cgroup.procs").read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
        for folder in folders:
            deadline = time.monotonic() + 5
            while folder.is_dir() and time.monotonic() < deadline:
                with suppress(OSError):
                    folder.rmdir()
                    break
                time.sleep(0.01)


def end_shims(socket: str) -> None:
    """Kill the shims that were started for the containerd behind this socket."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if "containerd-shim" in words[0] and socket in words:
                os.kill(int(process.name), signal.SIGKILL)


def unmount_below(directory: Path) -> None:
    """Unmount what is mounted below a directory, so that it can be removed."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{directory}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=False)
