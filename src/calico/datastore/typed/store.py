"""Typed resources on a datastore: the create, read, update, apply and delete of Calico v3 (data model, section 4).

Every write is one compare-and-swap on the key's mod revision, which clients see as ``metadata.resourceVersion``.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

import msgspec

from calico.datastore.api import Backend, CompareFailed, KeyValue, Op
from calico.datastore.typed.cascades import IPAM, before_delete
from calico.datastore.typed.initialise import initialise
from calico.datastore.typed.references import check_references
from calico.datastore.typed.virtual_profile import DEFAULT_ALLOW, DEFAULT_ALLOW_KEY, refuse_create, refuse_write
from calico.errors import AlreadyExists, Conflict, InvalidInput, NotFound, Uncertain
from calico.model.codec import decode, encode, merge_unknown
from calico.model.defaults import with_defaults
from calico.model.keys import ResourceKey, key_path, kind_prefix, parse_key
from calico.model.meta import Metadata, Resource
from calico.obs.logger import Logger

__all__ = ["Store"]

log = Logger(__name__)

_ATTEMPTS = 5


def utc_now() -> str:
    """RFC 3339 in whole seconds, as ``creationTimestamp`` is stored."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


OnDamaged = Callable[[str, Sequence[str]], object]


def _log_damaged(key: str, problems: Sequence[str]) -> None:
    log.warning("datastore_entry_damaged", key=key, problems=problems)


class Store:
    """Resources by kind, name and namespace. Returned resources carry their ``resourceVersion``."""

    def __init__(
        self,
        backend: Backend,
        *,
        now: Callable[[], str] = utc_now,
        new_uid: Callable[[], str] = lambda: str(uuid.uuid4()),
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        on_damaged: OnDamaged = _log_damaged,
        ipam: IPAM | None = None,
    ) -> None:
        """``on_damaged`` is told of entries that a list could not read, or only in part. ``ipam`` is what releases
        addresses and blocks of a Node or IPPool that is deleted."""
        self.backend = backend
        self.sleep = sleep
        self.on_damaged, self.ipam = on_damaged, ipam
        self._now, self._new_uid = now, new_uid

    # ---- reading

    async def get(self, kind: str, name: str, namespace: str = "") -> Resource:
        """NotFound when absent; InvalidInput naming every fault when what is stored is damaged.

        A reader that must go on takes what can be saved (rules that deny); written back, that would destroy the rest.
        """
        key = ResourceKey(kind, namespace, name)
        if key == DEFAULT_ALLOW_KEY:
            return DEFAULT_ALLOW
        kv = await self.backend.get(key_path(key))
        if kv is None:
            raise NotFound(f"{key} does not exist")
        found = decode(key, kv.value, kv.mod_revision)
        if found.resource is None or found.problems:
            raise _damaged(key, found.problems)
        return found.resource

    async def list(self, kind: str, namespace: str = "") -> tuple[Resource, ...]:
        """All resources of a kind (in one namespace, when given).

        Entries that cannot be read are left out; damaged policies show the denial that they are taken for.
        """
        resources, _ = await self.list_at(kind, namespace)
        return resources

    async def list_at(self, kind: str, namespace: str = "") -> tuple[tuple[Resource, ...], int]:
        """``list`` together with the datastore's revision it is of."""
        listing = await self.backend.list(kind_prefix(kind, namespace))
        resources = []
        for kv in listing.items:
            key = parse_key(kv.key)
            if key is None:
                continue
            found = decode(key, kv.value, kv.mod_revision)
            if found.problems:
                self.on_damaged(kv.key, found.problems)
            if found.resource is not None:
                resources.append(found.resource)
        if kind == DEFAULT_ALLOW_KEY.kind:
            resources.append(DEFAULT_ALLOW)
        return tuple(resources), listing.revision

    # ---- writing

    async def create(self, resource: Resource) -> Resource:
        """Store a new resource; AlreadyExists when there is one, NotFound when its tier or filter is missing."""
        key = key_of(resource)
        refuse_create(key)
        if resource.metadata.resource_version:
            message = "must not be set on create"
            raise InvalidInput(message, subject=str(key), field="metadata.resourceVersion")
        if key.kind == "Node":
            await initialise(self)
        resource = self._with_identity(_prepared(key, resource))
        path, raw = key_path(key), encode(resource)
        for _ in range(_ATTEMPTS):
            conditions = await check_references(self, key, resource, None)
            try:
                return _at(resource, await self._write(Op(path, raw, expect=0), conditions))
            except CompareFailed as err:
                if err.current.get(path) is not None:
                    raise AlreadyExists(f"{key} exists already") from err
        raise Conflict(f"{key}: what it refers to keeps changing")

    async def update(self, resource: Resource) -> Resource:
        """Replace a resource that was read before (``resourceVersion``, ``uid``, ``creationTimestamp`` are needed).

        Conflict when it changed meanwhile, NotFound when it is gone. Fields of newer versions in the stored JSON stay.
        """
        key = key_of(resource)
        refuse_write(key)
        expected = _required_version(key, resource.metadata)
        stored = await self._stored(key)
        _check_version(key, stored, expected)
        resource = _prepared(key, resource)
        conditions = await check_references(
            self, key, resource, decode(key, stored.value, stored.mod_revision).resource
        )
        raw = merge_unknown(stored.value, encode(resource))
        try:
            return _at(resource, await self._write(Op(stored.key, raw, expect=expected), conditions))
        except CompareFailed as err:
            raise Conflict(f"{key} was changed meanwhile: {err}") from err

    async def apply(self, resource: Resource) -> Resource:
        """Create or replace. Without a ``resourceVersion`` conflicts are retried; a stale one is a Conflict."""
        return await self._put(resource, self._create_or_replace)

    async def replace(self, resource: Resource) -> Resource:
        """Replace what exists, as ``apply`` does; NotFound when it does not."""
        return await self._put(resource, self._replace)

    async def delete(self, kind: str, name: str, namespace: str = "", *, resource_version: str = "") -> int:
        """Delete a resource with what depends on it; the revision of that.

        NotFound when absent, Conflict when at another version.
        """
        key = ResourceKey(kind, namespace, name)
        refuse_write(key)
        if resource_version:
            _check_version(key, await self._stored(key), _number(key, resource_version))
        resource_version = await before_delete(self, key, resource_version)
        for _ in range(_ATTEMPTS):
            stored = await self._stored(key)
            if resource_version:
                _check_version(key, stored, _number(key, resource_version))
            try:
                return await self._write(Op(stored.key, expect=stored.mod_revision), ())
            except CompareFailed:
                continue
        raise Conflict(f"{key} keeps changing")

    # ---- the steps of a write

    async def _put(
        self, resource: Resource, write: Callable[[ResourceKey, Resource, str], Awaitable[Resource]]
    ) -> Resource:
        key = key_of(resource)
        refuse_write(key)
        version = resource.metadata.resource_version
        for attempt in range(_ATTEMPTS):
            try:
                return await write(key, resource, version)
            except Conflict:
                if version or attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    async def _create_or_replace(self, key: ResourceKey, resource: Resource, version: str) -> Resource:
        if await self.backend.get(key_path(key)) is not None:
            return await self._replace(key, resource, version)
        bare = msgspec.structs.replace(resource.metadata, resource_version="", uid="", creation_timestamp=None)
        return await self.create(msgspec.structs.replace(resource, metadata=bare))

    async def _replace(self, key: ResourceKey, resource: Resource, version: str) -> Resource:
        kv = await self._stored(key)
        found = decode(key, kv.value, kv.mod_revision).resource
        stored = found.metadata if found is not None else Metadata(resource_version=str(kv.mod_revision))
        metadata = msgspec.structs.replace(
            resource.metadata,
            uid=stored.uid or self._new_uid(),
            creation_timestamp=stored.creation_timestamp or self._now(),
            resource_version=version or stored.resource_version,
        )
        try:
            return await self.update(msgspec.structs.replace(resource, metadata=metadata))
        except NotFound as err:
            if await self.backend.get(key_path(key)) is not None:
                raise  # something it refers to is missing
            raise Conflict(f"{key} was deleted meanwhile") from err

    async def _write(self, op: Op, conditions: Sequence[Op]) -> int:
        """One transaction; an answer that was lost is settled by reading: our bytes are there, or they are not."""
        try:
            return await self.backend.txn([op, *conditions])
        except Uncertain:
            kv = await self.backend.get(op.key)
            if op.value is None and kv is None:
                return 0
            if kv is not None and op.value == kv.value:
                return kv.mod_revision
            raise

    async def _stored(self, key: ResourceKey) -> KeyValue:
        kv = await self.backend.get(key_path(key))
        if kv is None:
            raise NotFound(f"{key} does not exist")
        return kv

    def _with_identity(self, resource: Resource) -> Resource:
        metadata = msgspec.structs.replace(
            resource.metadata,
            uid=resource.metadata.uid or self._new_uid(),
            creation_timestamp=resource.metadata.creation_timestamp or self._now(),
        )
        return msgspec.structs.replace(resource, metadata=metadata)


def key_of(resource: Resource) -> ResourceKey:
    """The identity of a resource; InvalidInput when name, namespace and kind do not fit together."""
    key = ResourceKey(resource.kind or type(resource).__name__, resource.metadata.namespace, resource.metadata.name)
    key_path(key)
    return key


def _prepared(key: ResourceKey, resource: Resource) -> Resource:
    """With defaults; InvalidInput listing every problem that validation finds."""
    from calico.model.validation import validate  # readers do without

    resource = with_defaults(msgspec.structs.replace(resource, kind=key.kind))
    problems = validate(resource)
    if problems:
        raise InvalidInput("; ".join(str(problem) for problem in problems), subject=str(key))
    return resource


def _damaged(key: ResourceKey, problems: Sequence[str]) -> InvalidInput:
    return InvalidInput("; ".join(problems) or "cannot be read", subject=f"stored {key}")


def _at(resource: Resource, revision: int) -> Resource:
    metadata = msgspec.structs.replace(resource.metadata, resource_version=str(revision))
    return msgspec.structs.replace(resource, metadata=metadata)


def _required_version(key: ResourceKey, metadata: Metadata) -> int:
    for value, name in ((metadata.uid, "uid"), (metadata.creation_timestamp, "creationTimestamp")):
        if not value:
            raise InvalidInput("is needed on update", subject=str(key), field=f"metadata.{name}")
    return _number(key, metadata.resource_version)


def _number(key: ResourceKey, version: str) -> int:
    if not (version.isascii() and version.isdigit()):
        message = f"{version!r} is not a resource version" if version else "is needed on update"
        raise InvalidInput(message, subject=str(key), field="metadata.resourceVersion")
    return int(version)


def _check_version(key: ResourceKey, kv: KeyValue, expected: int) -> None:
    if kv.mod_revision != expected:
        raise Conflict(f"{key} is at resourceVersion {kv.mod_revision}, not {expected}")
