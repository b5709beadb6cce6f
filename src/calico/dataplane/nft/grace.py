"""Waiting until every packet that the kernel was judging has been judged.

A packet is judged inside one read-side section of RCU, so after a grace period none is left that began before a
transaction. ``membarrier(2)`` with the command *global* waits for exactly that: 8 ms with 250 ticks a second.
"""

from __future__ import annotations

import ctypes
import platform
import time
from typing import Final

__all__ = ["wait_for_packets"]

_NUMBERS: Final = {"x86_64": 324, "aarch64": 283, "riscv64": 283, "ppc64le": 365, "s390x": 356}
_GLOBAL: Final = 1
_INSTEAD_S: Final = 0.02
"""Where the kernel offers no membarrier (processors without ticks): longer than packets take."""

_libc = ctypes.CDLL(None, use_errno=True)


def wait_for_packets() -> None:
    """Return when no packet is under way that began before the call."""
    number = _NUMBERS.get(platform.machine())
    if number is None or _libc.syscall(number, _GLOBAL, 0) != 0:
        time.sleep(_INSTEAD_S)
