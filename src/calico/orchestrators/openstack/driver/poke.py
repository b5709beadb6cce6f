"""Telling the workers of this machine that the journal has news: one datagram, which nobody needs to receive."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from oslo_config import cfg

__all__ = ["Bell", "poke"]

_FOLDER = "calico-pokes"


def poke() -> None:
    """Wake every worker of this machine; never blocks and never fails."""
    folder = Path(cfg.CONF.state_path) / _FOLDER
    try:
        names = list(folder.iterdir())
    except OSError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        for name in names:
            try:
                sender.sendto(b"", str(name))
            except ConnectionRefusedError:  # its worker died
                with suppress(OSError):
                    name.unlink()
            except OSError:
                pass  # it has enough to wake up for, or is another user's: it looks by itself


class Bell:
    """A worker's socket; ``ring`` is called from the loop that ``file`` is added to."""

    def __init__(self, ring: Callable[[], object]) -> None:
        folder = Path(cfg.CONF.state_path) / _FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / str(os.getpid())
        self._path.unlink(missing_ok=True)
        self._ring = ring
        self.file = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.file.setblocking(False)
        self.file.bind(str(self._path))

    def hear(self) -> None:
        """Take all datagrams that are there."""
        try:
            while True:
                self.file.recv(16)
        except BlockingIOError:
            pass
        self._ring()

    def close(self) -> None:
        self.file.close()
        self._path.unlink(missing_ok=True)
