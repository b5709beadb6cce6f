"""The file that tells those who attach workloads how long packets may be, as Calico's CNI plugin reads it."""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from calico.obs.conditions import Conditions

__all__ = ["MtuFile"]

log = structlog.get_logger(__name__)


class MtuFile:
    """Writes only when the number changes. A reader sees the old or the new number, never half of one."""

    def __init__(self, path: str, conditions: Conditions) -> None:
        self._path = Path(path) if path else None
        self._conditions = conditions
        self._written = 0

    def write(self, mtu: int) -> None:
        """The MTU is this now."""
        if self._path is None or mtu == self._written:
            return
        fresh = self._path.with_name(f".{self._path.name}.new")
        try:
            self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            fresh.write_text(f"{mtu}\n")
            os.chmod(fresh, 0o644)
            os.replace(fresh, self._path)
        except OSError as error:
            self._conditions.set("mtu-file-not-written", str(self._path), str(error))
            return
        self._conditions.clear("mtu-file-not-written", str(self._path))
        self._written = mtu
        log.info("MTU of workloads", mtu=mtu, file=str(self._path))
