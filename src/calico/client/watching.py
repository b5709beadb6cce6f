"""Changes of a kind as they happen, for ever: resumed after breaks, listed anew when the history was compacted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Generic, Literal, TypeVar

import msgspec

from calico.datastore.api import KeyValue, Update
from calico.datastore.typed.store import Store
from calico.errors import ResyncRequired, Transient
from calico.model.codec import decode
from calico.model.keys import kind_prefix, parse_key
from calico.model.meta import Resource

__all__ = ["Event", "EventType", "watch_kind"]

EventType = Literal["ADDED", "MODIFIED", "DELETED"]
R = TypeVar("R", bound=Resource)
_R = TypeVar("_R", bound=Resource)

_RETRY_FIRST_S, _RETRY_MAX_S = 0.1, 5.0


class Event(msgspec.Struct, Generic[R], frozen=True):
    """A change: the resource as it is now, or as it last was when it is gone, and the revision of the change."""

    type: EventType
    resource: R
    revision: int


class _View(Generic[R]):
    """What was told so far: key to resource."""

    def __init__(self, cls: type[R], store: Store) -> None:
        self._cls, self._store = cls, store
        self._known: dict[str, R] = {}

    def listed(self, items: Iterable[KeyValue], revision: int) -> list[Event[R]]:
        """The events that lead from what was told to a listing."""
        found = {item.key: item for item in items}
        events = [event for key in list(self._known) if key not in found for event in self._gone(key, revision)]
        for item in found.values():
            known = self._known.get(item.key)
            if known is None or known.metadata.resource_version != str(item.mod_revision):
                events += self._stands(item.key, item.value, item.mod_revision)
        return events

    def updated(self, update: Update) -> list[Event[R]]:
        """The events of one change."""
        if update.value is None:
            return self._gone(update.key, update.mod_revision)
        return self._stands(update.key, update.value, update.mod_revision)

    def _stands(self, path: str, value: bytes, revision: int) -> list[Event[R]]:
        key = parse_key(path)
        if key is None:
            return []
        found = decode(key, value, revision)
        if found.problems:
            self._store.on_damaged(path, found.problems)
        if not isinstance(found.resource, self._cls):
            return self._gone(path, revision)
        event: EventType = "MODIFIED" if path in self._known else "ADDED"
        self._known[path] = found.resource
        return [Event(event, found.resource, revision)]

    def _gone(self, path: str, revision: int) -> list[Event[R]]:
        last = self._known.pop(path, None)
        return [] if last is None else [Event("DELETED", last, revision)]


async def watch_kind(store: Store, cls: type[_R], namespace: str = "") -> AsyncGenerator[tuple[Event[_R], ...], None]:
    """What there is, as one batch of ADDED events, then batches of changes. Transient only before the first batch.

    After a break the watch goes on behind the last change seen; when that is no longer kept the kind is listed again
    and what differs is told.
    """
    prefix = kind_prefix(cls.__name__, namespace)
    view = _View(cls, store)
    listing = await store.backend.list(prefix)
    yield tuple(view.listed(listing.items, listing.revision))
    seen, failures = listing.revision, 0
    while True:
        try:
            async with aclosing(store.backend.watch(prefix, seen + 1)) as batches:
                async for batch in batches:
                    failures = 0
                    seen = max(seen, batch.revision)
                    events = tuple(event for update in batch.updates for event in view.updated(update))
                    if events:
                        yield events
        except ResyncRequired:
            pass
        except Transient:
            failures += 1
            await asyncio.sleep(min(_RETRY_FIRST_S * 2**failures, _RETRY_MAX_S))
            continue
        try:
            listing = await store.backend.list(prefix)
        except Transient:
            await asyncio.sleep(_RETRY_MAX_S)
            continue
        seen = listing.revision
        events = tuple(view.listed(listing.items, listing.revision))
        if events:
            yield events
