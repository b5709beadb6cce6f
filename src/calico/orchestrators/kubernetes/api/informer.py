"""A collection of the API server, followed: what is there now, and which keys changed.

List, then watch; after a 410 (compaction) list again; where it is served, the list comes as a watch (watch-list).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, cast

from calico.errors import CalicoError, InvalidInput, NotFound, ResyncRequired, Transient
from calico.obs.logger import Logger
from calico.orchestrators.kubernetes.api.client import Client, Event

__all__ = ["Informer", "Key", "key_of"]

log = Logger(__name__)

Key = tuple[str, str]
"""(namespace, name); the namespace of what has none is empty."""

_BACKOFF_S = (0.2, 30.0)
_INITIAL_END = "k8s.io/initial-events-end"


def key_of(found: Mapping[str, Any]) -> Key:
    """The key of an object."""
    metadata = found.get("metadata") or {}
    return metadata.get("namespace") or "", metadata.get("name") or ""


class Informer:
    """``objects`` is always some state that the collection had, never older than a state that it was before.

    ``on_change`` hears every key whose object came, went or differs, after ``objects`` says so, in the informer's task.
    ``synced`` is set once everything was listed; it stays set while the server cannot be reached. ``trouble`` says why
    the view may be old; empty when it is followed. ``keep`` may shrink objects to what is needed.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        *,
        on_change: Callable[[Key], None],
        field_selector: str = "",
        label_selector: str = "",
        optional: bool = False,
        watch_timeout_s: int = 300,
        keep: Callable[[dict[str, Any]], dict[str, Any]] = lambda found: found,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """``optional``: a kind that the server does not know counts as an empty collection and is asked for again."""
        self._client, self._path, self._on_change, self._keep, self._sleep = client, path, on_change, keep, sleep
        self._selectors = {"field_selector": field_selector, "label_selector": label_selector}
        self._optional, self._watch_timeout_s = optional, watch_timeout_s
        self._objects: dict[Key, dict[str, Any]] = {}
        self._version = ""
        self._watch_list = True
        self.synced = asyncio.Event()
        self.trouble = ""

    @property
    def objects(self) -> Mapping[Key, dict[str, Any]]:
        """What is there now."""
        return self._objects

    @property
    def path(self) -> str:
        """The collection."""
        return self._path

    async def run(self) -> None:
        """Follow until cancelled; nothing that the server says ends it."""
        pause = _BACKOFF_S[0]
        while True:
            try:
                if not self._version:
                    await self._read_all()
                if await self._follow():
                    pause = _BACKOFF_S[0]
                    continue
            except ResyncRequired as error:
                log.info("kubernetes_list_again", path=self._path, reason=str(error))
                self._version = ""
            except NotFound as error:
                self._version = ""
                if self._optional:
                    self._take({})
                    self.synced.set()
                    await self._sleep(_BACKOFF_S[1] / 3)
                    continue
                self._failed(error)
            except CalicoError as error:
                self._failed(error)
            await self._sleep(pause * random.uniform(0.8, 1.2))
            pause = min(pause * 2, _BACKOFF_S[1])

    def _failed(self, error: CalicoError) -> None:
        if str(error) != self.trouble:
            log.warning("kubernetes_not_followed", path=self._path, reason=str(error))
        self.trouble = str(error)

    async def _read_all(self) -> None:
        if self._watch_list:
            try:
                await self._read_by_watch()
                return
            except InvalidInput:
                self._watch_list = False  # a server before 1.32, or one that has it switched off
        items, version = await self._client.list(self._path, **self._selectors)
        self._took_all({key_of(item): self._keep(item) for item in items}, version)

    async def _read_by_watch(self) -> None:
        found: dict[Key, dict[str, Any]] = {}
        async with aclosing(self._watched("", initial=True)) as events:
            async for event in events:
                metadata = event.object.get("metadata") or {}
                if event.type == "BOOKMARK":
                    if (metadata.get("annotations") or {}).get(_INITIAL_END) == "true":
                        self._took_all(found, str(metadata.get("resourceVersion") or ""))
                        return
                elif event.type == "DELETED":
                    found.pop(key_of(event.object), None)
                else:
                    found[key_of(event.object)] = self._keep(event.object)
        self._watch_list = False  # it took the question for an ordinary watch
        raise Transient(f"the list of {self._path} by watch ended before it was complete")

    def _watched(self, version: str, *, initial: bool = False) -> Any:
        events: AsyncIterator[Event] = self._client.watch(
            self._path, version, timeout_s=self._watch_timeout_s, initial_events=initial, **self._selectors
        )
        return cast(Any, events)

    def _took_all(self, found: dict[Key, dict[str, Any]], version: str) -> None:
        self._version, self.trouble = version, ""
        self._take(found)
        self.synced.set()

    def _take(self, found: dict[Key, dict[str, Any]]) -> None:
        before, self._objects = self._objects, found
        for key in before.keys() | found.keys():
            if before.get(key) != found.get(key):
                self._on_change(key)

    async def _follow(self) -> bool:
        """Until the server ends the watch; whether it said anything before."""
        heard = False
        async with aclosing(self._watched(self._version)) as events:
            async for event in events:
                self.trouble, heard = "", True
                self._on_event(event)
        return heard

    def _on_event(self, event: Event) -> None:
        version = str((event.object.get("metadata") or {}).get("resourceVersion") or "")
        if event.type == "DELETED":
            gone = self._objects.pop(key_of(event.object), None)
            if gone is not None:
                self._on_change(key_of(event.object))
        elif event.type in ("ADDED", "MODIFIED"):
            key, kept = key_of(event.object), self._keep(event.object)
            if self._objects.get(key) != kept:
                self._objects[key] = kept
                self._on_change(key)
        if version:
            self._version = version
