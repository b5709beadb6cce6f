"""Looking whether somebody else changed what is ours where the kernel does not tell: cheap, and often.

A look costs one netlink message (the generation of nftables) and reads settings below /proc/sys for a stated time at
most, so a quiet host is idle. Routes, neighbours, addresses, queues and some settings need no look: events tell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from calico.errors import CalicoError
from calico.felix.config.settings import FelixConfig
from calico.felix.host import Host

__all__ = ["Audit"]

log = structlog.get_logger(__name__)

_PERIOD_S: Final = 2.0
_BUDGET_S: Final = 0.01


class Audit:
    """A service of the daemon. ``ready`` says whether the host has been programmed."""

    def __init__(self, host: Host, config: Callable[[], FelixConfig], ready: Callable[[], bool]) -> None:
        self._host = host
        self._config = config
        self._ready = ready
        self.looks = 0

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(min(_PERIOD_S, self._config().nftables_refresh_s or _PERIOD_S))
            if not self._ready():
                continue
            self.looks += 1
            try:
                self._host.look(filters=self._config().nftables_refresh_s > 0, budget_s=_BUDGET_S)
            except CalicoError as error:
                log.warning("the host could not be looked at", error=str(error))
