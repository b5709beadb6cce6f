"""A controller whose resources are wholly made of objects of the API: each object becomes at most one resource."""

from __future__ import annotations

from abc import abstractmethod

from msgspec.structs import replace

from calico.datastore.typed.store import key_of
from calico.errors import AlreadyExists, Conflict, InvalidInput, NotFound
from calico.model.codec import decode, encode
from calico.model.defaults import with_defaults
from calico.model.keys import ResourceKey
from calico.model.meta import Metadata, Resource
from calico.orchestrators.kubernetes.api.informer import Key
from calico.orchestrators.kubernetes.controllers.controller import Controller

__all__ = ["Mirror", "canonical"]


def canonical(resource: Resource) -> Resource:
    """As it is read back after it was stored, without identity: equal when it means the same."""
    key = key_of(resource)
    bare = replace(resource, metadata=Metadata(name=key.name, namespace=key.namespace), kind=key.kind)
    read = decode(key, encode(with_defaults(bare)), 0).resource
    if read is None:
        raise InvalidInput("cannot be stored", subject=str(key))
    return replace(read, metadata=Metadata(name=key.name, namespace=key.namespace))


class Mirror(Controller[Resource]):
    """A subclass says how an object becomes a resource, and which names are ours."""

    @abstractmethod
    def convert(self, key: Key) -> Resource | None:
        """What the object ``key`` becomes; None when there is none, or it becomes nothing. Reports what it must."""

    @abstractmethod
    def target_of(self, key: Key) -> ResourceKey:
        """The resource that an object of this key becomes, whatever it says."""

    @abstractmethod
    def source_of(self, key: ResourceKey) -> Key | None:
        """The key of the object; None when a resource of this name is not ours."""

    def reconcile(self, key: Key) -> None:
        resource = self.convert(key)
        if resource is None:
            self.reconciler.unwant(self.target_of(key))
        else:
            self.reconciler.want(self.target_of(key), canonical(resource))

    def content(self, key: ResourceKey, resource: Resource) -> Resource | None:
        return canonical(resource) if self.source_of(key) is not None else None

    async def put(self, key: ResourceKey, value: Resource) -> None:
        try:
            await self._store.replace(value)
        except NotFound:
            try:
                await self._store.create(value)
            except AlreadyExists as error:
                raise Conflict(f"{key} was created meanwhile") from error
