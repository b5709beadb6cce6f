"""What else must go when a resource is deleted, and what must not be deleted (data model, section 4).

Steps are ordered so that a cascade cut short can be repeated: the resource itself goes last. IPAM lies above this
package: a store is given it as its ``ipam``, and without one addresses and blocks stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

import msgspec

from calico.datastore.typed.references import TIERED_PLURALS
from calico.errors import Conflict, InvalidInput, NotFound
from calico.model.codec import decode
from calico.model.defaults import PREDEFINED_TIERS
from calico.model.ippool import IPPool
from calico.model.keys import RESOURCE_PREFIX, ResourceKey, key_path
from calico.model.node import Node, tunnel_addresses
from calico.model.workload import WorkloadEndpoint

if TYPE_CHECKING:
    from calico.datastore.api import Backend
    from calico.datastore.typed.store import Store

__all__ = ["IPAM", "PROTECTED_TIERS", "before_delete"]

PROTECTED_TIERS = tuple(PREDEFINED_TIERS)

_OWNED_BY_NODE = ("WorkloadEndpoint", "BGPPeer", "HostEndpoint")  # by spec.node
_CONFIGURED_PER_NODE = ("FelixConfiguration", "BGPConfiguration")  # named node.<name>
_POOL_DRAIN_S = 0.5  # an allocator that has read the pool as enabled finishes within it
_ATTEMPTS = 5


class IPAM(Protocol):
    """What of IPAM goes along, and why a new pool does not fit to blocks that are there (empty when it does)."""

    async def pool_fault(self, backend: Backend, pool: IPPool) -> str: ...

    async def release_addresses(self, backend: Backend, addresses: Iterable[str]) -> None: ...

    async def release_host(self, backend: Backend, host: str) -> None: ...

    async def release_pool(self, backend: Backend, cidr: str) -> None: ...


class _TierSpec(msgspec.Struct):
    tier: str = ""


class _Tiered(msgspec.Struct):
    spec: _TierSpec = msgspec.field(default_factory=_TierSpec)


async def before_delete(store: Store, key: ResourceKey, resource_version: str) -> str:
    """Do what must come first, or refuse; the resource version to delete with (a pool's changes on the way)."""
    if key.kind == "Tier":
        await _refuse_tier_in_use(store, key)
    elif key.kind == "Node":
        await _delete_what_the_node_owns(store, key)
    elif key.kind == "IPPool":
        return await _disable_pool(store, key, resource_version)
    return resource_version


async def _refuse_tier_in_use(store: Store, key: ResourceKey) -> None:
    if key.name in PROTECTED_TIERS:
        raise InvalidInput("a built-in tier cannot be deleted", subject=str(key))
    users = []
    for kind, plural in TIERED_PLURALS.items():
        prefix = f"{RESOURCE_PREFIX}{plural}/"
        for kv in (await store.backend.list(prefix)).items:
            if _tier_in(kv.value) == key.name:
                users.append(f"{kind} {kv.key.removeprefix(prefix)}")
    if users:
        shown = ", ".join(users[:5]) + (f" and {len(users) - 5} more" if len(users) > 5 else "")
        raise InvalidInput(f"the tier still has policies: {shown}", subject=str(key))


def _tier_in(value: bytes) -> str:
    try:
        return msgspec.json.decode(value, type=_Tiered).spec.tier or "default"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


async def _delete_what_the_node_owns(store: Store, node: ResourceKey) -> None:
    if store.ipam is not None:  # first: it is the endpoints that tell which addresses they are
        await store.ipam.release_addresses(store.backend, await _addresses_of(store, node))
    for kind in _OWNED_BY_NODE:
        for resource in await store.list(kind):
            if getattr(getattr(resource, "spec", None), "node", "") == node.name:
                await _delete_if_there(store, kind, resource.metadata.name, resource.metadata.namespace)
    for kind in _CONFIGURED_PER_NODE:
        await _delete_if_there(store, kind, f"node.{node.name}")
    if store.ipam is not None:
        await store.ipam.release_host(store.backend, node.name)


async def _addresses_of(store: Store, node: ResourceKey) -> list[str]:
    """Those of the node's endpoints and tunnels."""
    found = []
    for endpoint in await store.list("WorkloadEndpoint"):
        if isinstance(endpoint, WorkloadEndpoint) and endpoint.spec.node == node.name:
            found += [net.partition("/")[0] for net in endpoint.spec.ip_networks if _is_single(net)]
    stored = await store.backend.get(key_path(node))
    resource = decode(node, stored.value).resource if stored is not None else None
    if isinstance(resource, Node):
        found += tunnel_addresses(resource).values()
    return found


def _is_single(net: str) -> bool:
    """Whether it is one address: a wider net was not given by IPAM."""
    address, _, length = net.partition("/")
    return not length or length == ("128" if ":" in address else "32")


async def _delete_if_there(store: Store, kind: str, name: str, namespace: str = "") -> None:
    try:
        await store.delete(kind, name, namespace)
    except NotFound:
        pass


async def _disable_pool(store: Store, key: ResourceKey, resource_version: str) -> str:
    """Stop new assignments from the pool before it goes."""
    for attempt in range(_ATTEMPTS):
        try:
            pool = await store.get("IPPool", key.name)
        except InvalidInput:
            return resource_version  # nobody can assign from a pool that cannot be read
        if not isinstance(pool, IPPool):
            return resource_version
        if pool.spec.disabled:
            await _release_blocks(store, pool)
            return resource_version
        if resource_version and pool.metadata.resource_version != resource_version:
            raise Conflict(f"{key} is at resourceVersion {pool.metadata.resource_version}, not {resource_version}")
        spec = msgspec.structs.replace(pool.spec, disabled=True)
        try:
            disabled = await store.replace(msgspec.structs.replace(pool, spec=spec))
        except Conflict:
            if resource_version or attempt == _ATTEMPTS - 1:
                raise
            continue
        await store.sleep(_POOL_DRAIN_S)
        await _release_blocks(store, pool)
        return disabled.metadata.resource_version if resource_version else ""
    return resource_version


async def _release_blocks(store: Store, pool: IPPool) -> None:
    if store.ipam is not None:
        await store.ipam.release_pool(store.backend, pool.spec.cidr)
