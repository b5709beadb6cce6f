"""What a kubelet changes for the whole machine, and gives no option to leave alone: put back by whoever started it."""

from __future__ import annotations

import shutil
from pathlib import Path

__all__ = ["Machine"]

_SETTINGS = (
    "kernel/keys/root_maxbytes", "kernel/keys/root_maxkeys", "kernel/panic", "kernel/panic_on_oops",
    "vm/overcommit_memory", "vm/panic_on_oom",
)  # fmt: skip
_FOLDERS = (Path("/var/lib/kubelet"), Path("/var/log/pods"), Path("/var/log/containers"))


class Machine:
    """Remembers the settings when it is made; ``restore`` puts them back, and takes away folders that were not there.

    ``directory`` is one that a guard watches over.
    """

    def __init__(self, directory: Path) -> None:
        self._before = {Path("/proc/sys", name): Path("/proc/sys", name).read_text().strip() for name in _SETTINGS}
        self._new = [folder for folder in _FOLDERS if not folder.exists()]
        (directory / "sysctls").write_text("".join(f"{path} {value}\n" for path, value in self._before.items()))

    def restore(self) -> None:
        for path, value in self._before.items():
            path.write_text(value)
        for folder in self._new:
            shutil.rmtree(folder, ignore_errors=True)
