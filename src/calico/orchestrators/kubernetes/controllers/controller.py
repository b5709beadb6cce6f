"""The loop of every controller: what the API holds is what is wanted, the datastore is made so, key by key.

Level-triggered: informers and a watch of the datastore only say where to look. Nothing is written or deleted before
all informers are synced and the datastore was read.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from typing import Any, Generic, TypeVar

from calico.datastore.api import Update
from calico.datastore.typed.ready import require_ready
from calico.datastore.typed.store import Store, key_of
from calico.errors import CalicoError, InvalidInput, NotFound
from calico.lib.reconcile import Plan, Reconciler
from calico.model.codec import decode
from calico.model.keys import ResourceKey, kind_prefix, parse_key
from calico.model.meta import Resource
from calico.obs.logger import Logger
from calico.orchestrators.kubernetes.api.client import Client
from calico.orchestrators.kubernetes.api.events import Reporter
from calico.orchestrators.kubernetes.api.informer import Informer, Key
from calico.orchestrators.kubernetes.controllers.backoff import Backoff
from calico.orchestrators.kubernetes.controllers.fencing import Deposed

__all__ = ["Controller", "Waits"]

log = Logger(__name__)

V = TypeVar("V")

_WATCH_AGAIN_S = 1.0
_AT_A_TIME = 16


class Waits(CalicoError):
    """This key failed before and is not due yet."""


class Controller(ABC, Generic[V]):
    """Keeps the resources of one ``kind`` that are ours. A subclass says what is wanted, what is ours, how to write it.

    Failures of a key wait for it alone. ``Deposed`` ends it: another leads.
    """

    def __init__(self, name: str, kind: str, store: Store, reporter: Reporter, *, resync_s: float = 300.0) -> None:
        self.name, self.kind = name, kind
        self._store, self._reporter, self._resync_s = store, reporter, resync_s
        self._informers: list[Informer] = []
        self._dirty: set[Key] = set()
        self._wake = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._clock = loop.time
        self._backoff: Backoff[ResourceKey] = Backoff(loop.time)
        self.reconciler: Reconciler[ResourceKey, V] = Reconciler(self)
        self._trouble = ""
        self._heard: list[Update] | None = None
        self._read_at = 0
        self.settled = False
        """Whether everything wanted was written at the end of the last round."""

    # ---- what a subclass says

    @abstractmethod
    def reconcile(self, key: Key) -> None:
        """Want and unwant in ``reconciler`` what the object ``key`` of the API, or its absence, asks for."""

    @abstractmethod
    def content(self, key: ResourceKey, resource: Resource) -> V | None:
        """What of a stored resource is compared; None when it is not ours."""

    @abstractmethod
    async def put(self, key: ResourceKey, value: V) -> None:
        """Make the stored resource so."""

    @abstractmethod
    def source_of(self, key: ResourceKey) -> Key | None:
        """The object of the API that a resource of ours comes from; None when that cannot be told."""

    def on_stored(self, key: ResourceKey, value: V | None) -> None:
        """Hear what is stored now, or that it went; for those whose wishes depend on it."""

    def source(self, key: Key) -> Mapping[str, Any] | None:
        """The object that Events about ``key`` are about."""
        return self._informers[0].objects.get(key)

    async def remove(self, key: ResourceKey) -> None:
        """Delete what is ours and not wanted."""
        try:
            stored = await self._store.get(key.kind, key.name, key.namespace)
        except NotFound:
            return
        except InvalidInput:
            await self._store.delete(key.kind, key.name, key.namespace)  # damaged, and ours by its name
            return
        if self.content(key, stored) is not None:
            version = stored.metadata.resource_version
            await self._store.delete(key.kind, key.name, key.namespace, resource_version=version)

    # ---- what it offers

    def follow(self, client: Client, path: str, **options: Any) -> Informer:
        """An informer whose changes make keys dirty; the first is where ``source`` looks."""
        informer = Informer(client, path, on_change=self.look_at, **options)
        self._informers.append(informer)
        return informer

    def look_at(self, key: Key) -> None:
        """Reconcile ``key`` soon."""
        self._dirty.add(key)
        self._wake.set()

    def warn(self, key: Key, reason: str, message: str) -> None:
        """An Event on the object, if it is there."""
        source = self.source(key)
        if source is not None:
            self._reporter.warn(source, reason, message)

    def troubles(self) -> list[str]:
        """Why what is written may not be what the API says now; empty when all is well."""
        behind = [
            f"{self.name}: {informer.path}: {informer.trouble}" for informer in self._informers if informer.trouble
        ]
        unsynced = [f"{self.name}: {i.path} was not read yet" for i in self._informers if not i.synced.is_set()]
        return [*behind, *unsynced, *([f"{self.name}: {self._trouble}"] if self._trouble else [])]

    # ---- the loop

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for informer in self._informers:
                group.create_task(informer.run(), name=f"{self.name} {informer.path}")
            group.create_task(self._follow_datastore(), name=f"{self.name} datastore")
            group.create_task(self._work(), name=self.name)

    async def _work(self) -> None:
        for informer in self._informers:
            await informer.synced.wait()
            self._dirty.update(informer.objects)
        resync_at = self._clock() + self._resync_s
        while True:
            self._wake.clear()
            if self._clock() >= resync_at:
                resync_at = self._clock() + self._resync_s
                self.reconciler.resync()
                self._dirty.update(*(informer.objects for informer in self._informers))
            await self._round()
            due = self._backoff.next_s()
            pause = min(resync_at - self._clock(), self._resync_s if due is None else max(due, 0.05))
            try:
                async with asyncio.timeout(max(pause, 0)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _round(self) -> None:
        dirty, self._dirty = self._dirty, set()
        for key in dirty:
            self._reconcile(key)
        try:
            await require_ready(self._store.backend)
            self._heard = []
            failed = await self.reconciler.apply()
        except Deposed:
            raise
        except CalicoError as error:
            if self._trouble != str(error):
                log.warning("kubernetes_datastore_fails", controller=self.name, reason=str(error))
            self._trouble, self.settled = str(error), False
            await asyncio.sleep(_WATCH_AGAIN_S)
            self._wake.set()
            return
        finally:
            self._replay()
        real = [error for _, error in failed if not isinstance(error, Waits)]
        self._trouble = str(real[0]) if real else self._trouble if failed else ""
        self.settled = not failed and not self._dirty

    def _reconcile(self, key: Key) -> None:
        """One object that nobody foresaw stops no other; what was made of it before stays."""
        try:
            self.reconcile(key)
        except (CalicoError, ValueError, TypeError, AttributeError, KeyError) as error:
            log.error("kubernetes_not_converted", controller=self.name, object="/".join(key), reason=str(error))
            self.warn(key, "NotConverted", f"what was made of it before stays: {error}")

    def _replay(self) -> None:
        """What the datastore said while we wrote may be newer than what we know; what it said before a list is not."""
        heard, self._heard = self._heard, None
        for update in heard or ():
            if update.mod_revision > self._read_at:
                self._on_update(update)

    async def _follow_datastore(self) -> None:
        """What others change of ours, and what appears that wishes depend on."""
        prefix = kind_prefix(self.kind)
        while True:
            try:
                start, _ = await self._store.backend.revision()
                self.reconciler.resync()
                self._wake.set()
                async with aclosing(self._store.backend.watch(prefix, start + 1)) as batches:
                    async for batch in batches:
                        for update in batch.updates:
                            self._on_update(update)
            except CalicoError as error:
                log.info("kubernetes_datastore_not_followed", controller=self.name, reason=str(error))
            await asyncio.sleep(_WATCH_AGAIN_S)

    def _on_update(self, update: Update) -> None:
        if self._heard is not None:
            self._heard.append(update)
            return
        key = parse_key(update.key)
        if key is None:
            return
        raw, revision = update.value, update.mod_revision
        resource = decode(key, raw, revision).resource if raw is not None else None
        value = self.content(key, resource) if resource is not None else None
        self.reconciler.noticed(key, value)
        self.on_stored(key, value)
        self._wake.set()

    # ---- the driver of the reconciler

    async def read(self) -> Mapping[ResourceKey, V]:
        """All that is ours."""
        found: dict[ResourceKey, V] = {}
        resources, self._read_at = await self._store.list_at(self.kind)
        for resource in resources:
            key = key_of(resource)
            value = self.content(key, resource)
            if value is not None:
                found[key] = value
                self.on_stored(key, value)
        return found

    async def write(self, plan: Plan[ResourceKey, V]) -> Iterable[tuple[ResourceKey, Exception]]:
        """Key by key, some at a time; what is not due yet waits."""
        failed: list[tuple[ResourceKey, Exception]] = []
        keys = [*plan.put, *plan.delete]
        failed += [(key, Waits("not due yet")) for key in keys if not self._backoff.is_due(key)]
        due = iter([key for key in keys if self._backoff.is_due(key)])

        async def some() -> None:
            for key in due:
                error = await self._write_one(plan, key)
                if error is not None:
                    failed.append((key, error))

        workers = [asyncio.ensure_future(some()) for _ in range(min(_AT_A_TIME, len(keys)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.wait(workers)
        return failed

    async def _write_one(self, plan: Plan[ResourceKey, V], key: ResourceKey) -> CalicoError | None:
        try:
            await (self.put(key, plan.put[key]) if key in plan.put else self.remove(key))
        except Deposed:
            raise
        except CalicoError as error:
            self._backoff.failed(key)
            self._tell_failure(key, error)
            return error
        self._backoff.succeeded(key)
        return None

    def _tell_failure(self, key: ResourceKey, error: CalicoError) -> None:
        log.warning("kubernetes_not_written", controller=self.name, resource=str(key), reason=str(error))
        source = self.source_of(key)
        if isinstance(error, InvalidInput) and source is not None:
            self.warn(source, "CalicoRefused", str(error))
