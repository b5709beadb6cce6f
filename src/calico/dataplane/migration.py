"""Where a workload stands that moves from one host to another, and the first frame that it sends at its new one.

A workload is where it last spoke. Until then packets go to its old host; from then on the new host's route is better
than any other, on the old host as well.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final, Literal

import msgspec

__all__ = ["FirstFrame", "Priorities", "Stage"]

Stage = Literal["settled", "leaving", "arriving", "arrived"]
"""Of an endpoint on one host. Its route is as always (*settled*), of normal priority so that the new host's wins
(*leaving*), not there yet (*arriving*), or of elevated priority (*arrived*)."""

_EVERY_PROTOCOL: Final = 0x0003
_SOL_PACKET, _PACKET_IGNORE_OUTGOING = 263, 23
_HEADER: Final = 64


class Priorities(msgspec.Struct, frozen=True):
    """Kernel metrics of routes to workloads that move, of IPv4 and IPv6; the lower is preferred."""

    normal: tuple[int, int] = (1024, 1024)
    elevated: tuple[int, int] = (512, 512)

    def of(self, stage: Stage, settled: int) -> tuple[int, int] | None:
        """The metrics of a stage; None: no routes. ``settled`` is that of all other routes."""
        match stage:
            case "arriving":
                return None
            case "arrived":
                return self.elevated
            case "leaving":
                return self.normal
        return settled, settled


class FirstFrame:
    """Waits on an interface for a frame that comes from a MAC, calls back once, and is closed then.

    QEMU announces a guest that it lets run again (RARP), but whatever it sends says as much. OSError when there is no
    such interface.
    """

    def __init__(self, interface: str, mac: bytes, on_seen: Callable[[], None]) -> None:
        self._mac, self._on_seen = mac, on_seen
        self._loop = asyncio.get_running_loop()
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
        try:
            self._sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            self._sock.bind((interface, _EVERY_PROTOCOL))
        except OSError:
            self._sock.close()
            raise
        self._loop.add_reader(self._sock, self._read)

    def close(self) -> None:
        """Stop waiting; again is fine."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
            self._sock.close()

    def _read(self) -> None:
        while True:
            try:
                frame = self._sock.recv(_HEADER)
            except BlockingIOError:
                return
            except OSError:  # the interface went down or away; it may come back
                return
            if not self._mac or frame[6:12] == self._mac:
                self.close()
                self._on_seen()
                return
