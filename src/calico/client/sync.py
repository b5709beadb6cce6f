"""The client for scripts without asyncio: the same operations, each waiting for its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, TypeVar

from calico.client.aio import AsyncClient
from calico.client.comparing import Difference
from calico.client.kinds import Kinds
from calico.client.loop import LoopThread
from calico.client.sync_collection import Collection
from calico.datastore.barrier import Realisation
from calico.model.meta import Resource

__all__ = ["Client"]

R = TypeVar("R", bound=Resource)


class Client(Kinds):
    """A datastore. Use as ``with``: leaving closes the connection and ends the background thread.

    ``client.nodes``, ``client.network_policies`` and so on are the collections of the kinds; ``of`` finds one by class.
    May be used from several threads.
    """

    def __init__(self, inner: AsyncClient, loop: LoopThread | None = None) -> None:
        self._inner = inner
        self._loop = loop or LoopThread()
        self._owns_loop = loop is None

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def of(self, cls: type[R]) -> Collection[R]:
        """The collection of a class of resources."""
        return Collection(self._loop, self._inner.of(cls))

    def apply(self, resource: Resource | dict[str, Any]) -> Resource:
        """Create or replace a resource of any kind, given typed or as parsed YAML or JSON."""
        return self._loop.run(self._inner.apply(resource))

    def delete(self, resource: Resource | dict[str, Any]) -> int:
        """Delete what has this kind, name and namespace; the revision of that."""
        return self._loop.run(self._inner.delete(resource))

    def rehearse(self) -> Client:
        """A client that reads this datastore and keeps what is written to itself; everything is checked as usual."""
        return Client(self._inner.rehearse(), self._loop)

    def difference(self, resources: Iterable[Resource | dict[str, Any]]) -> tuple[Difference, ...]:
        """What applying the resources in this order would change, in meaning; nothing is written."""
        return self._loop.run(self._inner.difference(resources))

    def wait_applied(
        self,
        revision: int | Resource,
        timeout_s: float = 30.0,
        on_progress: Callable[[Realisation], object] = lambda _: None,
        hosts: Iterable[str] | None = None,
    ) -> Realisation:
        """Wait until every host has a revision in its kernel; see ``AsyncClient.wait_applied``."""
        return self._loop.run(self._inner.wait_applied(revision, timeout_s, on_progress, hosts))

    def close(self) -> None:
        """End the connection, and with RuntimeError what other threads wait for; once more does nothing."""
        if self._owns_loop:
            self._loop.close(self._inner.close())
