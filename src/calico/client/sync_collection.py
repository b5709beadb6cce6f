"""All resources of one kind, for scripts without asyncio. What each method does stands in ``AsyncCollection``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from calico.client.collection import AsyncCollection
from calico.client.loop import LoopThread
from calico.client.patching import PatchType
from calico.client.watching import Event
from calico.model.meta import Resource

__all__ = ["Collection"]

R = TypeVar("R", bound=Resource)


class Collection(Generic[R]):
    """``AsyncCollection`` with methods that wait. Errors are the same."""

    def __init__(self, loop: LoopThread, inner: AsyncCollection[R]) -> None:
        self._loop, self._inner = loop, inner

    def get(self, name: str, namespace: str = "default") -> R:
        """One resource; NotFound when there is none."""
        return self._loop.run(self._inner.get(name, namespace))

    def list(self, namespace: str = "", selector: str = "") -> tuple[R, ...]:
        """All, or those of a namespace, or those that a selector matches."""
        return self._loop.run(self._inner.list(namespace, selector))

    def create(self, resource: R) -> R:
        """Store a new one; AlreadyExists when there is one of its name."""
        return self._loop.run(self._inner.create(resource))

    def apply(self, resource: R) -> R:
        """Create or replace."""
        return self._loop.run(self._inner.apply(resource))

    def replace(self, resource: R) -> R:
        """Replace what exists; NotFound when it does not."""
        return self._loop.run(self._inner.replace(resource))

    def delete(self, name: str, namespace: str = "default") -> int:
        """Delete with what depends on it; the revision of that."""
        return self._loop.run(self._inner.delete(name, namespace))

    def patch(self, name: str, patch: Any, namespace: str = "default", patch_type: PatchType = "merge") -> R:
        """Change what a merge, strategic or JSON patch says."""
        return self._loop.run(self._inner.patch(name, patch, namespace, patch_type))

    def label(
        self,
        name: str,
        labels: Mapping[str, str] = {},
        *,
        remove: Iterable[str] = (),
        overwrite: bool = False,
        namespace: str = "default",
    ) -> R:
        """Set and remove labels."""
        work = self._inner.label(name, labels, remove=remove, overwrite=overwrite, namespace=namespace)
        return self._loop.run(work)

    def watch(self, namespace: str = "", selector: str = "") -> Iterator[Event[R]]:
        """What there is as ADDED events, then every change, for ever."""
        return self._loop.iterate(self._inner.watch(namespace, selector))
