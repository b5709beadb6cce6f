"""What a service tells systemd about itself (sd_notify(3)); nothing outside of systemd, which gives the socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

__all__ = ["Notifier"]


class Notifier:
    """Sends states to the socket that the environment names. A state that cannot be sent is lost, as systemd has it."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        asked = environment.get("WATCHDOG_USEC", "") if self._address else ""
        ours = environment.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        self.watchdog_s = int(asked) / 1e6 if asked.isdigit() and ours else 0.0
        """How long systemd bears silence; 0: for ever."""

    def tell(self, **states: str | int) -> None:
        """Such as ``READY=1`` or ``STATUS="in sync"``."""
        if not self._address:
            return
        text = "\n".join(f"{name}={' '.join(str(value).split())}" for name, value in states.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.sendto(text.encode(), self._address)
        except OSError:
            return
