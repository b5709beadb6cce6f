"""What else must go when a resource is deleted, and what must not be deleted (data model, section 4).

Steps are ordered so that a cascade cut short can be repeated: the resource itself goes last. Addresses held in IPAM
are not this file's: the IPAM of an orchestrator releases them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from calico.datastore.typed.references import TIERED_PLURALS
from calico.errors import Conflict, InvalidInput, NotFound
from calico.model.defaults import PREDEFINED_TIERS
from calico.model.ippool import IPPool
from calico.model.keys import RESOURCE_PREFIX, ResourceKey

if TYPE_CHECKING:
    from calico.datastore.typed.store import Store

__all__ = ["PROTECTED_TIERS", "before_delete"]

PROTECTED_TIERS = tuple(PREDEFINED_TIERS)

_OWNED_BY_NODE = ("WorkloadEndpoint", "BGPPeer", "HostEndpoint")  # by spec.node
_CONFIGURED_PER_NODE = ("FelixConfiguration", "BGPConfiguration")  # named node.<name>
_POOL_DRAIN_S = 0.5  # an allocator that has read the pool as enabled finishes within it
_ATTEMPTS = 5


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
    for kind in _OWNED_BY_NODE:
        for resource in await store.list(kind):
            if getattr(getattr(resource, "spec", None), "node", "") == node.name:
                await _delete_if_there(store, kind, resource.metadata.name, resource.metadata.namespace)
    for kind in _CONFIGURED_PER_NODE:
        await _delete_if_there(store, kind, f"node.{node.name}")


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
        if not isinstance(pool, IPPool) or pool.spec.disabled:
            return resource_version
        if resource_version and pool.metadata.resource_version != resource_version:
            raise Conflict(f"{key} is at resourceVersion {pool.metadata.resource_version}, not {resource_version}")
        spec = msgspec.structs.replace(pool.spec, disabled=True)
        try:
            disabled = await store.update(msgspec.structs.replace(pool, spec=spec))
        except Conflict:
            if resource_version or attempt == _ATTEMPTS - 1:
                raise
            continue
        await store.sleep(_POOL_DRAIN_S)
        return disabled.metadata.resource_version if resource_version else ""
    return resource_version
