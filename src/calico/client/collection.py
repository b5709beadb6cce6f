"""All resources of one kind, as scripts use them. asyncio; ``calico.client.sync`` is the same without."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from calico.client.given import check_identity, check_labels, check_names, check_resource, described
from calico.client.patching import PatchType, apply_patch
from calico.client.watching import Event, EventType, watch_kind
from calico.datastore.typed.store import Store
from calico.errors import Conflict, InvalidInput
from calico.model.kinds import KindInfo, kind_info
from calico.model.manifest import resource_to_data, to_resource
from calico.model.meta import Resource
from calico.model.selector import parse

__all__ = ["AsyncCollection"]

R = TypeVar("R", bound=Resource)

_ATTEMPTS = 5


class AsyncCollection(Generic[R]):
    """The resources of class ``cls``. ``namespace`` is ignored for kinds that have none; where a name is given its
    default is ``default``, in lists it is all namespaces.

    Errors: NotFound, AlreadyExists, Conflict (changed meanwhile), InvalidInput (names object and field), Transient (the
    datastore is not available; a write whose answer was lost is Uncertain).
    """

    def __init__(self, store: Store, cls: type[R]) -> None:
        if not (isinstance(cls, type) and issubclass(cls, Resource)):
            raise InvalidInput("must be a class of resources such as calico.model.node.Node", field="of")
        self._store, self._cls = store, cls
        self.info: KindInfo = kind_info(cls.__name__)

    async def get(self, name: str, namespace: str = "default") -> R:
        """One resource, with its ``metadata.resource_version``."""
        check_identity(self.info.kind, name, namespace)
        return self._typed(await self._store.get(self.info.kind, name, self._namespace(namespace)))

    async def list(self, namespace: str = "", selector: str = "") -> tuple[R, ...]:
        """All, or those of a namespace, or those whose labels the selector matches. Unreadable ones are left out."""
        matches = self._matcher(namespace, selector)
        found = await self._store.list(self.info.kind, self._namespace(namespace))
        return tuple(self._typed(item) for item in found if matches is None or matches(item.metadata.labels))

    async def create(self, resource: R) -> R:
        """Store a new one; AlreadyExists when there is one of its name."""
        return self._typed(await self._store.create(self._scoped(resource)))

    async def apply(self, resource: R) -> R:
        """Create or replace. With a ``resource_version`` only if it is still at that."""
        return self._typed(await self._store.apply(self._scoped(resource)))

    async def replace(self, resource: R) -> R:
        """Replace what exists; NotFound when it does not."""
        return self._typed(await self._store.replace(self._scoped(resource)))

    async def delete(self, name: str, namespace: str = "default") -> int:
        """Delete with what depends on it; the revision of that."""
        check_identity(self.info.kind, name, namespace)
        return await self._store.delete(self.info.kind, name, self._namespace(namespace))

    async def patch(self, name: str, patch: Any, namespace: str = "default", patch_type: PatchType = "merge") -> R:
        """Change what ``patch`` says: an object, or a list of operations with ``patch_type="json"``.

        Others' changes meanwhile are kept: the patch is then applied to those.
        """
        for attempt in range(_ATTEMPTS):
            current = await self.get(name, namespace)
            document = apply_patch(resource_to_data(current), patch, patch_type)
            try:
                return self._typed(await self._store.replace(self._patched(current, document)))
            except Conflict:
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    async def label(
        self,
        name: str,
        labels: Mapping[str, str] = {},
        *,
        remove: Iterable[str] = (),
        overwrite: bool = False,
        namespace: str = "default",
    ) -> R:
        """Set and remove labels. InvalidInput for a label that has another value already (unless ``overwrite``) or
        that is to be removed and absent."""
        subject = f"{self.info.kind} {name}"
        check_labels(subject, labels)
        removed = check_names(subject, "remove", remove)
        for attempt in range(_ATTEMPTS):
            current = await self.get(name, namespace)
            changed = _relabelled(current, labels, removed, overwrite)
            if changed == current.metadata.labels:
                return current
            metadata = msgspec.structs.replace(current.metadata, labels=changed)
            try:
                return self._typed(await self._store.replace(msgspec.structs.replace(current, metadata=metadata)))
            except Conflict:
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    async def watch(self, namespace: str = "", selector: str = "") -> AsyncGenerator[Event[R], None]:
        """What there is as ADDED events, then every change, for ever; survives breaks and compaction.

        With a selector a resource that ceases to match is DELETED.
        """
        matches = self._matcher(namespace, selector)
        shown: set[tuple[str, str]] = set()
        async for batch in watch_kind(self._store, self._cls, self._namespace(namespace)):
            for event in batch:
                seen = event if matches is None else _seen(event, matches(event.resource.metadata.labels), shown)
                if seen is not None:
                    yield seen

    def _typed(self, resource: Resource) -> R:
        if not isinstance(resource, self._cls):
            raise InvalidInput(f"is a {type(resource).__name__}, not a {self.info.kind}", subject=str(resource.kind))
        return resource

    def _matcher(self, namespace: str, selector: object) -> Callable[[Mapping[str, str]], bool] | None:
        check_identity(self.info.kind, "", namespace)
        if not isinstance(selector, str):
            message = f"must be a str such as \"role == 'db'\", not {described(selector)}"
            raise InvalidInput(message, subject=self.info.kind, field="selector")
        return parse(selector).matches if selector else None

    def _namespace(self, namespace: str) -> str:
        return namespace if self.info.namespaced else ""

    def _scoped(self, resource: R) -> R:
        resource = check_resource(resource, self._cls)
        if resource.metadata.namespace or not self.info.namespaced:
            return resource
        metadata = msgspec.structs.replace(resource.metadata, namespace="default")
        return msgspec.structs.replace(resource, metadata=metadata)

    def _patched(self, current: R, document: Any) -> Resource:
        subject = f"{self.info.kind} {current.metadata.name}, patched"
        patched = to_resource(subject, document, current.metadata.namespace)
        old, new = current.metadata, patched.metadata
        if (type(patched), old.name, old.namespace) != (self._cls, new.name, new.namespace):
            raise InvalidInput("a patch cannot change kind, name or namespace", subject=subject, field="metadata")
        metadata = msgspec.structs.replace(new, resource_version=old.resource_version, uid=old.uid)
        return msgspec.structs.replace(patched, metadata=metadata)


def _relabelled(
    current: Resource, labels: Mapping[str, str], remove: tuple[str, ...], overwrite: bool
) -> dict[str, str]:
    changed = dict(current.metadata.labels)
    subject = f"{current.kind} {current.metadata.name}"
    for key, value in labels.items():
        if changed.get(key, value) != value and not overwrite:
            message = f"is {changed[key]!r} already; overwrite (--overwrite) to change it"
            raise InvalidInput(message, subject=subject, field=f"metadata.labels[{key}]")
        changed[key] = value
    for key in remove:
        if changed.pop(key, None) is None:
            raise InvalidInput("there is no such label", subject=subject, field=f"metadata.labels[{key}]")
    return changed


def _seen(event: Event[R], matching: bool, shown: set[tuple[str, str]]) -> Event[R] | None:
    """The event as one sees it who looks only at what matches."""
    key = (event.resource.metadata.namespace, event.resource.metadata.name)
    if matching and event.type != "DELETED":
        kind: EventType = "MODIFIED" if key in shown else "ADDED"
        shown.add(key)
        return Event(kind, event.resource, event.revision)
    if key not in shown:
        return None
    shown.discard(key)
    return Event("DELETED", event.resource, event.revision)
