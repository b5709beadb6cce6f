"""Felix's reports in the datastore (data model §10): that the host is alive, and how its endpoints are.

A report that cannot be written is tried again; nothing else waits for it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import structlog

from calico.calc.messages import EndpointId
from calico.datastore.api import Backend, Op
from calico.datastore.lease import put_with_ttl
from calico.errors import CalicoError
from calico.felix.config.settings import FelixConfig
from calico.felix.status_keys import (
    endpoint_status_key,
    endpoint_status_prefix,
    host_endpoint_status_key,
    host_endpoint_status_prefix,
    host_status_keys,
)
from calico.lib.reconcile import Plan, Reconciler

__all__ = ["EndpointStatusReporter", "HostStatusReporter"]

log = structlog.get_logger(__name__)

_FIRST_REPORT_S = 10.0
_OPS_PER_TXN = 100
_RESYNC_DELAYS = 180
_RETRY_S = 5.0


class HostStatusReporter:
    """Writes the host's StatusReport every ``reporting_interval_s``, leased for ``reporting_ttl_s``; 0 turns it off."""

    def __init__(
        self, backend: Backend, node: str, config: Callable[[], FelixConfig], revision: Callable[[], int]
    ) -> None:
        self._backend = backend
        self._node = node
        self._config = config
        self._revision = revision
        self._started = time.monotonic()
        self._first = True
        self._reconfigured = asyncio.Event()

    def on_config(self) -> None:
        """The settings changed: the present wait is over."""
        self._reconfigured.set()

    async def run(self) -> None:
        """Report until cancelled."""
        await asyncio.sleep(min(_FIRST_REPORT_S, self._config().reporting_interval_s or _FIRST_REPORT_S))
        while True:
            config = self._config()
            if config.reporting_interval_s > 0:
                await self._report(config)
            self._reconfigured.clear()
            try:
                async with asyncio.timeout(config.reporting_interval_s or None):
                    await self._reconfigured.wait()
            except TimeoutError:
                pass

    async def _report(self, config: FelixConfig) -> None:
        document: dict[str, Any] = {
            "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "uptime": round(time.monotonic() - self._started, 3),
            "first_update": self._first,
            "revision": self._revision(),
        }
        value = json.dumps(document, separators=(",", ":")).encode()
        leased, last = host_status_keys(self._node, config.openstack_region)
        try:
            await put_with_ttl(self._backend, leased, value, max(1, int(config.reporting_ttl_s)))
            await self._backend.txn([Op(last, value)])
            self._first = False
        except CalicoError as error:
            log.warning("host status was not written", error=str(error))


class _StatusDriver:
    """Endpoint status keys of this host in the datastore."""

    def __init__(self, backend: Backend, prefixes: Callable[[], Iterable[str]]) -> None:
        self._backend = backend
        self._prefixes = prefixes

    async def read(self) -> Mapping[str, bytes]:
        listings = [await self._backend.list(prefix) for prefix in self._prefixes()]
        return {item.key: item.value for listing in listings for item in listing.items}

    async def write(self, plan: Plan[str, bytes]) -> Iterable[tuple[str, Exception]]:
        ops = [Op(key, value) for key, value in plan.put.items()] + [Op(key) for key in plan.delete]
        failed: list[tuple[str, Exception]] = []
        for start in range(0, len(ops), _OPS_PER_TXN):
            part = ops[start : start + _OPS_PER_TXN]
            try:
                await self._backend.txn(part)
            except CalicoError as error:
                failed += [(op.key, error) for op in part]
        return failed


class EndpointStatusReporter:
    """Keeps ``{"status": up|down|error}``, with ``reasons`` why it is not up, of every local endpoint, of workloads and
    of the host, in the datastore, and nothing stale of ours."""

    def __init__(self, backend: Backend, node: str, config: Callable[[], FelixConfig]) -> None:
        self._node = node
        self._config = config
        self._reconciler: Reconciler[str, bytes] = Reconciler(_StatusDriver(backend, self._prefixes))
        self._wake = asyncio.Event()

    def on_status(self, endpoint: EndpointId, status: str | None, reasons: tuple[str, ...] = ()) -> None:
        """An endpoint's status; None when it is gone."""
        self._want(endpoint_status_key(self._node, endpoint, self._config().openstack_region), status, reasons)

    def on_host_endpoint_status(self, name: str, status: str | None, reasons: tuple[str, ...] = ()) -> None:
        """A host endpoint's status; None when it is gone."""
        self._want(host_endpoint_status_key(self._node, name), status, reasons)

    def _want(self, key: str, status: str | None, reasons: tuple[str, ...]) -> None:
        if status is None:
            self._reconciler.unwant(key)
        else:
            document = {"status": status, **({"reasons": list(reasons)} if reasons else {})}
            self._reconciler.want(key, json.dumps(document, separators=(",", ":")).encode())
        self._wake.set()

    def on_config(self) -> None:
        """The settings changed: reporting may have been switched on."""
        self._wake.set()

    async def run(self) -> None:
        """Write changes, at most one round per ``endpoint_reporting_delay_s``, until cancelled."""
        resync_at = time.monotonic()
        while True:
            config = self._config()
            delay = max(config.endpoint_reporting_delay_s, 0.05)
            if config.endpoint_reporting:
                if time.monotonic() >= resync_at:
                    self._reconciler.resync()
                    resync_at = time.monotonic() + delay * _RESYNC_DELAYS
                delay = max(delay, await self._write())
            await asyncio.sleep(delay)
            try:
                async with asyncio.timeout(delay * _RESYNC_DELAYS):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    def _prefixes(self) -> Iterable[str]:
        region = self._config().openstack_region
        return endpoint_status_prefix(self._node, region), host_endpoint_status_prefix(self._node)

    async def _write(self) -> float:
        """One round; seconds to wait before the next because of failures."""
        try:
            failed = await self._reconciler.apply()
        except CalicoError as error:
            log.warning("endpoint status was not read back", error=str(error))
            self._reconciler.resync()
            self._wake.set()
            return _RETRY_S
        if failed:
            log.warning("endpoint status was not written", keys=len(failed), error=str(failed[0][1]))
            self._wake.set()
            return _RETRY_S
        return 0.0
