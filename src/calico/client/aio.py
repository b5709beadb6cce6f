"""The client for scripts that use asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, TypeVar

from calico.client.collection import AsyncCollection
from calico.client.comparing import Difference, compare
from calico.client.given import check_names, typed_resource
from calico.client.kinds import AsyncKinds
from calico.datastore.api import Backend
from calico.datastore.barrier import Realisation, wait_for_hosts
from calico.datastore.rehearsal import Rehearsal
from calico.datastore.typed.store import Store
from calico.errors import InvalidInput, NotFound
from calico.ipam.cascade import IPAMCascade
from calico.model.codec import decode
from calico.model.keys import ResourceKey, key_path
from calico.model.meta import Resource

__all__ = ["AsyncClient"]

R = TypeVar("R", bound=Resource)


async def _no_sleep(_: float) -> None:
    """A rehearsal waits for nobody."""


class AsyncClient(AsyncKinds):
    """A datastore. Use as ``async with``: leaving closes the connection.

    ``client.nodes``, ``client.network_policies`` and so on are the collections of the kinds; ``of`` finds one by class.
    """

    def __init__(self, backend: Backend, store: Store | None = None) -> None:
        self.store = store or Store(backend, ipam=IPAMCascade())

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def of(self, cls: type[R]) -> AsyncCollection[R]:
        """The collection of a class of resources."""
        return AsyncCollection(self.store, cls)

    async def apply(self, resource: Resource | dict[str, Any]) -> Resource:
        """Create or replace a resource of any kind, given typed or as parsed YAML or JSON."""
        return await self.of(type(typed := typed_resource(resource))).apply(typed)

    async def delete(self, resource: Resource | dict[str, Any]) -> int:
        """Delete what has this kind, name and namespace; the revision of that."""
        typed = typed_resource(resource)
        return await self.of(type(typed)).delete(typed.metadata.name, typed.metadata.namespace or "default")

    def rehearse(self) -> AsyncClient:
        """A client that reads this datastore and keeps what is written to itself; everything is checked as usual."""
        rehearsal = Rehearsal(self.store.backend)
        real = self.store
        return AsyncClient(rehearsal, Store(rehearsal, sleep=_no_sleep, on_damaged=real.on_damaged, ipam=real.ipam))

    async def difference(self, resources: Iterable[Resource | dict[str, Any]]) -> tuple[Difference, ...]:
        """What applying the resources in this order would change, in meaning; nothing is written.

        InvalidInput or NotFound as ``apply`` would raise.
        """
        if isinstance(resources, Resource | dict | str):
            raise InvalidInput("must be a list of resources, not one", field="resources")
        rehearsal = self.rehearse()
        return tuple([await rehearsal.apply_and_compare(typed_resource(resource)) for resource in resources])

    async def apply_and_compare(self, resource: Resource) -> Difference:
        """Apply, and say what that changed."""
        collection = self.of(type(resource))
        before = await self.present(resource)
        return compare(before, await collection.apply(resource))

    async def present(self, resource: Resource) -> Resource | None:
        """What is stored under the identity of a resource; None when there is nothing that can be read."""
        kind = type(resource).__name__
        namespace = resource.metadata.namespace or ("default" if self.of(type(resource)).info.namespaced else "")
        try:
            return await self.store.get(kind, resource.metadata.name, namespace)
        except NotFound:
            return None
        except InvalidInput:  # damaged: what it is taken for
            key = ResourceKey(kind, namespace, resource.metadata.name)
            stored = await self.store.backend.get(key_path(key))
            return decode(key, stored.value, stored.mod_revision).resource if stored is not None else None

    async def wait_applied(
        self,
        revision: int | Resource,
        timeout_s: float = 30.0,
        on_progress: Callable[[Realisation], object] = lambda _: None,
        hosts: Iterable[str] | None = None,
    ) -> Realisation:
        """Wait until every host (all Nodes, or ``hosts``) has a revision in its kernel, at most ``timeout_s``.

        ``revision`` may be a resource as a write returned it. The answer tells how long each host took, and which lag
        and why.
        """
        number = _revision(revision)
        if hosts is None:
            names = [node.metadata.name for node in await self.store.list("Node")]
        else:
            names = list(check_names("wait_applied", "hosts", hosts))
        return await wait_for_hosts(self.store.backend, number, names, timeout_s, on_progress)

    async def close(self) -> None:
        """End the connection."""
        await asyncio.shield(self.store.backend.close())


def _revision(given: object) -> int:
    found = given.metadata.resource_version if isinstance(given, Resource) else given
    if isinstance(found, str) and isinstance(given, Resource) and found.isascii() and found.isdigit():
        return int(found)
    if isinstance(found, int) and not isinstance(found, bool):
        return found
    message = "must be a number, or a resource as a write returned it (with metadata.resource_version)"
    raise InvalidInput(message, subject="wait_applied", field="revision")
