"""Endpoint status as files on this host, for CNI plugins that wait until a container's policy is in the kernel.

One file for each local endpoint that is up, as Calico's Felix writes them (datamodel §10): it is there when the
endpoint is programmed, and gone before a container that comes after it could mistake it for its own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec
import structlog

from calico.calc.messages import EndpointId, EndpointUpdate
from calico.lib.packed import is_v6, net_str
from calico.lib.reconcile import Plan, Reconciler
from calico.obs.conditions import Conditions

__all__ = ["DIRECTORY", "EndpointStatusFiles", "file_content", "file_name"]

log = structlog.get_logger(__name__)

DIRECTORY: Final = "endpoint-status"
_CONDITION: Final = "status-files-not-written"
_RETRY_S: Final = 5.0
_PART_SAFE: Final = "$&+=:@"
"""What Go's url.PathEscape leaves as it is, beside letters, digits and ``-_.~``."""


def file_name(endpoint: EndpointId) -> str:
    """``<orchestrator> <workload> <endpoint>``, each path-escaped."""
    parts = (endpoint.orchestrator, endpoint.workload, endpoint.endpoint)
    return " ".join(quote(part, safe=_PART_SAFE) for part in parts)


def file_content(endpoint: EndpointUpdate) -> bytes:
    """What is written of an endpoint: interface, MAC, networks."""
    document = {
        "ifaceName": endpoint.interface,
        "mac": endpoint.mac.hex(":"),
        "ipv4Nets": [net_str(net) for net in endpoint.nets if not is_v6(net)],
        "ipv6Nets": [net_str(net) for net in endpoint.nets if is_v6(net)],
    }
    return msgspec.json.encode({name: value for name, value in document.items() if value})


class _Files:
    """The files of a directory; temporary ones have no space in their names."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def read(self) -> Mapping[str, bytes]:
        self._directory.mkdir(parents=True, exist_ok=True)
        return {path.name: path.read_bytes() for path in self._directory.iterdir() if " " in path.name}

    async def write(self, plan: Plan[str, bytes]) -> Iterable[tuple[str, Exception]]:
        failed: list[tuple[str, Exception]] = []
        for name in plan.delete:
            try:
                (self._directory / name).unlink(missing_ok=True)
            except OSError as error:
                failed.append((name, error))
        temporary = self._directory / ".new"
        for name, content in plan.put.items():
            try:
                temporary.write_bytes(content)
                os.replace(temporary, self._directory / name)
            except OSError as error:
                failed.append((name, error))
        return failed


class EndpointStatusFiles:
    """Nothing is written before ``bind``."""

    def __init__(self, directory: Path, conditions: Conditions) -> None:
        self._directory = directory
        self._conditions = conditions
        self._endpoint_of: Callable[[EndpointId], EndpointUpdate | None] = lambda _: None
        self._is_programmed: Callable[[], bool] = lambda: False
        self._reconciler: Reconciler[str, bytes] = Reconciler(_Files(directory))
        self._wake = asyncio.Event()

    def bind(
        self, endpoint_of: Callable[[EndpointId], EndpointUpdate | None], is_programmed: Callable[[], bool]
    ) -> None:
        """``endpoint_of`` tells a local endpoint; ``is_programmed``: whether all that there are were, so that files of
        others are of an earlier run and may go."""
        self._endpoint_of, self._is_programmed = endpoint_of, is_programmed

    def on_status(self, endpoint: EndpointId, status: str | None, _reasons: tuple[str, ...] = ()) -> None:
        """An endpoint's status; None when it is gone."""
        update = self._endpoint_of(endpoint) if status == "up" else None
        if update is None:
            self._reconciler.unwant(file_name(endpoint))
        else:
            self._reconciler.want(file_name(endpoint), file_content(update))

    def on_applied(self) -> None:
        """The kernel was programmed, or that failed."""
        self._wake.set()

    async def run(self) -> None:
        """Write what changed after each apply, until cancelled."""
        timeout: float | None = None
        while True:
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                self._reconciler.resync()
            self._wake.clear()
            if self._is_programmed():
                timeout = await self._write()

    async def _write(self) -> float | None:
        """One round; after how many seconds to try again."""
        try:
            failed = list(await self._reconciler.apply())
            troubles = {name: str(error) for name, error in failed}
        except OSError as error:
            troubles = {str(self._directory): str(error)}
        for name, trouble in troubles.items():
            if self._conditions.set(_CONDITION, name, trouble):
                log.warning("endpoint status was not written", file=name, error=trouble)
        self._conditions.replace(_CONDITION, troubles)
        return _RETRY_S if troubles else None
