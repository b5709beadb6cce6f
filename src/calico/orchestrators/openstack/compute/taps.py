"""The interfaces of this host's instances: a pair of sockets on each, and answers to what comes in.

All in one thread. A readable socket is read a few frames at a time, so that nobody waits long for a neighbour; beyond a
rate that no honest instance reaches, requests are dropped and counted.
"""

from __future__ import annotations

import asyncio
import errno
import random
import socket
import time
from collections.abc import Callable
from typing import Final

import structlog

from calico.orchestrators.openstack.answers.advert import INTERVAL_S, advertisement
from calico.orchestrators.openstack.answers.lease import Lease
from calico.orchestrators.openstack.answers.outcome import Outcome
from calico.orchestrators.openstack.answers.respond import Host, respond
from calico.orchestrators.openstack.compute.bucket import Bucket
from calico.orchestrators.openstack.compute.packetsocket import FRAME_MAX, open_packet_socket

__all__ = ["OnOutcome", "Tap"]

log = structlog.get_logger(__name__)

OnOutcome = Callable[["Tap", Outcome], None]

_AT_ONCE: Final = 16
_RATE, _BURST = 50.0, 100.0
_LOG_RATE, _LOG_BURST = 0.1, 5.0
_SOON_S: Final = (0.02, 0.3)
_GONE: Final = frozenset({errno.ENETDOWN, errno.ENXIO, errno.ENODEV})
_LIMITED: Final = Outcome("none", "limited")
_UNSENT: Final = Outcome("none", "unsent")


class Tap:
    """One interface. Always true: while it is open its sockets are watched by the running loop."""

    def __init__(self, name: str, index: int, lease: Lease, host: Host, on_outcome: OnOutcome) -> None:
        """OSError when the interface is gone already, or sockets are not to be had."""
        self.name, self.index = name, index
        self.lease, self.host = lease, host
        self._on_outcome = on_outcome
        self._bucket = Bucket(_RATE, _BURST)
        self._log = Bucket(_LOG_RATE, _LOG_BURST)
        self._timer: asyncio.TimerHandle | None = None
        self._v4 = open_packet_socket(name, 4)
        try:
            self._v6 = open_packet_socket(name, 6)
        except OSError:
            self._v4.close()
            raise
        loop = asyncio.get_running_loop()
        for sock in (self._v4, self._v6):
            loop.add_reader(sock, self._on_readable, sock)
        self._advertise_soon()

    def update(self, lease: Lease, host: Host) -> None:
        """From now on this is what the instance is told; by router advertisement at once."""
        if (lease, host) != (self.lease, self.host):
            self.lease, self.host = lease, host
            self._advertise_soon()

    def may_log(self) -> bool:
        """Whether a line about what the instance does may be written: it must not fill the disk."""
        return self._log.take(time.monotonic())

    def close(self) -> None:
        """Stop answering. What the instance was told holds on."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        for sock in (self._v4, self._v6):
            loop.remove_reader(sock)
            sock.close()

    def _on_readable(self, sock: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                frame = sock.recv(FRAME_MAX)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _GONE:
                    log.warning("an interface cannot be read", interface=self.name, error=str(error))
                return
            if not self._bucket.take(time.monotonic()):
                self._on_outcome(self, _LIMITED)
                continue
            outcome = respond(frame, self.lease, self.host)
            self._send(sock, outcome)

    def _send(self, sock: socket.socket, outcome: Outcome) -> None:
        if outcome.frame:
            try:
                sock.send(outcome.frame)
            except OSError as error:  # down, or full of packets that the instance does not take
                self._on_outcome(self, _UNSENT)
                log.debug("an answer could not be sent", interface=self.name, error=str(error))
                return
        self._on_outcome(self, outcome)

    def _advertise_soon(self) -> None:
        self._again(_SOON_S)

    def _again(self, between: tuple[float, float]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay = random.uniform(*between)
        self._timer = asyncio.get_running_loop().call_later(delay, self._advertise)

    def _advertise(self) -> None:
        if self.lease.v6 and self.host.link_local:
            self._send(self._v6, advertisement(self.lease, self.host.mac, self.host.link_local))
        self._again(INTERVAL_S)
