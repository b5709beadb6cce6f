"""The kernel's log, read from now on; packets are logged in it from all network namespaces meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["KernelLog", "kernel_log"]

_SWITCH = Path("/proc/sys/net/netfilter/nf_log_all_netns")


class KernelLog:
    """Lines written since it was opened."""

    def __init__(self) -> None:
        self._file = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._file, 0, os.SEEK_END)

    def lines(self, containing: str) -> list[str]:
        """New messages with a text in them, without the kernel's own header."""
        found: list[str] = []
        while True:
            try:
                message = os.read(self._file, 8192).decode(errors="replace").partition(";")[2].splitlines()[0]
            except BlockingIOError:
                return found
            except BrokenPipeError:  # older messages were overwritten meanwhile
                continue
            if containing in message:
                found.append(message)

    def close(self) -> None:
        os.close(self._file)


@contextmanager
def kernel_log() -> Iterator[KernelLog]:
    """Skips where packets cannot be logged from other namespaces than the first."""
    try:
        before = _SWITCH.read_text()
        _SWITCH.write_text("1")
    except OSError as error:
        pytest.skip(f"packets of other namespaces cannot be logged: {error}")
    try:
        log = KernelLog()
        try:
            yield log
        finally:
            log.close()
    finally:
        _SWITCH.write_text(before)
