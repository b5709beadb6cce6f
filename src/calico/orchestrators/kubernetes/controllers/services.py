"""Keeps what the datastore tells of services equal to the API server's Services and EndpointSlices.

Level-triggered: a dirty key is computed anew from what is there now and written when it differs from what is stored.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from calico.datastore.api import Backend, CompareFailed, KeyValue, Op
from calico.datastore.typed.ready import require_ready
from calico.errors import CalicoError, InvalidInput, NotFound
from calico.model.kubernetes.services import (
    KUBERNETES_PREFIX,
    SOURCE_KEY,
    ServiceKey,
    SliceKey,
    encode_record,
    parse_service_key,
    service_path,
)
from calico.obs.logger import Logger
from calico.orchestrators.kubernetes.api.client import Client
from calico.orchestrators.kubernetes.api.informer import Informer, Key
from calico.orchestrators.kubernetes.controllers.fencing import Deposed
from calico.orchestrators.kubernetes.convert.services import service_of_slice, service_to_record, slice_to_record

__all__ = ["ServiceController", "slices_path"]

log = Logger(__name__)

_T = TypeVar("_T")

_GROUP = "/apis/discovery.k8s.io"
_VERSIONS = ("v1", "v1beta1")
_BATCH = 100  # etcd takes 128 operations in a transaction
_RETRY_S = (0.2, 30.0)
_RESYNC_S = 300.0
_SOURCE = b'{"kind":"Kubernetes"}'

Warn = Callable[[Mapping[str, Any], str, str], None]
"""Hears an object of which something could not be converted, a reason in one word, and a sentence."""


async def slices_path(client: Client) -> str:
    """Where this server has EndpointSlices, in the newest version that we know; NotFound when it has none."""
    group = await client.get(_GROUP)
    served = {entry.get("version") for entry in group.get("versions") or ()}
    for version in _VERSIONS:
        if version in served:
            return f"{_GROUP}/{version}/endpointslices"
    raise NotFound(f"the API server serves EndpointSlices in none of {', '.join(_VERSIONS)}")


class ServiceController:
    """Always true once ``synced`` is set: what is not dirty is stored as the informers have it.

    One process at a time runs it (the leader); a write that finds another value than was read is computed again.
    """

    def __init__(
        self,
        client: Client,
        backend: Backend,
        warn: Warn,
        *,
        resync_s: float = _RESYNC_S,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._client, self._backend, self._warn = client, backend, warn
        self._resync_s, self._sleep = resync_s, sleep
        self._services = Informer(client, "/api/v1/services", on_change=self._on_service, keep=_kept)
        self._slices: Informer | None = None
        self._dirty: set[str] = set()
        self._path_of: dict[Key, str] = {}  # where a slice was when it was last looked at
        self._stored: dict[str, KeyValue] = {}
        self._wake = asyncio.Event()
        self.synced = asyncio.Event()
        self._trouble = ""

    def troubles(self) -> list[str]:
        """Why what is told may not be what the API says now; empty when all is well."""
        informers = [self._services, *([self._slices] if self._slices is not None else [])]
        behind = [f"services: {informer.path}: {informer.trouble}" for informer in informers if informer.trouble]
        untold = [] if self.synced.is_set() else ["services: not everything was told yet"]
        return [*behind, *untold, *([f"services: {self._trouble}"] if self._trouble else [])]

    async def run(self) -> None:
        """Follow until cancelled; neither server nor datastore ends it."""
        path = await self._retried(lambda: slices_path(self._client))
        self._slices = Informer(self._client, path, on_change=self._on_slice, keep=_kept)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._services.run(), name="services")
            group.create_task(self._slices.run(), name="endpointslices")
            await self._services.synced.wait()
            await self._slices.synced.wait()
            group.create_task(self._resync(), name="resync")
            await self._retried(self._read)
            while True:
                await self._retried(self._reconcile)
                if not self.synced.is_set():
                    await self._retried(self._say_complete)
                    self.synced.set()
                    log.info("services_told", services=len(self._services.objects), slices=len(self._slices.objects))
                await self._wake.wait()
                self._wake.clear()

    def _on_service(self, key: Key) -> None:
        self._mark(service_path(ServiceKey(*key)))

    def _on_slice(self, key: Key) -> None:
        assert self._slices is not None
        found = self._slices.objects.get(key)
        service = service_of_slice(found) if found is not None else ""
        before = self._path_of.pop(key, None)
        if before is not None:
            self._mark(before)
        if service:
            self._path_of[key] = service_path(SliceKey(key[0], service, key[1]))
            self._mark(self._path_of[key])

    def _mark(self, path: str) -> None:
        self._dirty.add(path)
        self._wake.set()

    async def _resync(self) -> None:
        """What others changed in the datastore is found and mended, at the latest after ``resync_s``."""
        while True:
            await self._sleep(self._resync_s)
            await self._retried(self._read)
            self._wake.set()

    async def _read(self) -> None:
        """Read what is stored, and look at everything that is stored or should be."""
        listing = await self._backend.list(KUBERNETES_PREFIX)
        self._stored = {item.key: item for item in listing.items}
        self._dirty.update(path for path in self._stored if parse_service_key(path) is not None)
        self._dirty.update(service_path(ServiceKey(*key)) for key in self._services.objects)
        self._dirty.update(self._path_of.values())
        if self.synced.is_set() and SOURCE_KEY not in self._stored:
            await self._say_complete()

    async def _reconcile(self) -> None:
        """Write what differs; what could not be written stays dirty."""
        while self._dirty:
            batch = list(itertools.islice(self._dirty, _BATCH))
            self._dirty.difference_update(batch)
            try:
                await self._write([op for path in batch if (op := self._difference(path)) is not None])
            except CompareFailed as error:
                self._took(error.current)
                self._dirty.update(batch)
            except BaseException:
                self._dirty.update(batch)
                raise

    def _difference(self, path: str) -> Op | None:
        stored, wanted = self._stored.get(path), self._wanted(path)
        if wanted == (stored.value if stored is not None else None):
            return None
        return Op(path, wanted, expect=stored.mod_revision if stored is not None else 0)

    async def _write(self, ops: list[Op]) -> None:
        if not ops:
            return
        await require_ready(self._backend)
        try:
            revision = await self._backend.txn(ops)
        except InvalidInput as error:
            if len(ops) == 1:
                log.error("service_not_told", key=ops[0].key, reason=str(error))
                return
            for op in ops:  # one that the datastore refuses does not hold up the others
                await self._write([op])
            return
        self._took(
            {op.key: None if op.value is None else KeyValue(op.key, op.value, revision, revision, 1) for op in ops}
        )

    def _took(self, current: Mapping[str, KeyValue | None]) -> None:
        for path, item in current.items():
            if item is None:
                self._stored.pop(path, None)
            else:
                self._stored[path] = item

    def _wanted(self, path: str) -> bytes | None:
        """The value that should be stored."""
        key = parse_service_key(path)
        if isinstance(key, ServiceKey):
            service = self._services.objects.get((key.namespace, key.name))
            return None if service is None else encode_record(service_to_record(service))
        if key is None or self._slices is None:
            return None
        found = self._slices.objects.get((key.namespace, key.name))
        if found is None or service_of_slice(found) != key.service:
            return None
        converted = slice_to_record(found)
        for problem in converted.problems:
            self._warn(found, "NotTold", problem)
        return encode_record(converted.record)

    async def _say_complete(self) -> None:
        stored = self._stored.get(SOURCE_KEY)
        if stored is None or stored.value != _SOURCE:
            await self._backend.txn([Op(SOURCE_KEY, _SOURCE)])

    async def _retried(self, action: Callable[[], Awaitable[_T]]) -> _T:
        pause = _RETRY_S[0]
        while True:
            try:
                result = await action()
            except Deposed:
                raise
            except CalicoError as error:
                if str(error) != self._trouble:
                    log.warning("services_not_told", reason=str(error))
                self._trouble = str(error)
            else:
                self._trouble = ""
                return result
            await self._sleep(pause)
            pause = min(pause * 2, _RETRY_S[1])


def _kept(found: dict[str, Any]) -> dict[str, Any]:
    """What is converted or named in an Event, and nothing that changes beside it."""
    metadata = found.get("metadata") or {}
    kept = {name: metadata[name] for name in ("name", "namespace", "uid", "labels") if name in metadata}
    return {**found, "metadata": kept}
