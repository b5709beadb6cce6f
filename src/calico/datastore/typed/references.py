"""What a resource needs of other resources when it is written (data model, section 4 and 16.11)."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING

from calico.datastore.api import Op
from calico.errors import InvalidInput, NotFound
from calico.model.bgp import BGPPeer
from calico.model.defaults import with_defaults
from calico.model.ippool import IPPool
from calico.model.keys import RESOURCE_PREFIX, ResourceKey, key_path
from calico.model.meta import Resource

if TYPE_CHECKING:
    from calico.datastore.typed.store import Store

__all__ = ["TIERED_PLURALS", "check_references", "tier_of"]

# Kinds whose policies live in a tier, those we have no class for included.
TIERED_PLURALS = {
    "NetworkPolicy": "networkpolicies",
    "GlobalNetworkPolicy": "globalnetworkpolicies",
    "StagedNetworkPolicy": "stagednetworkpolicies",
    "StagedGlobalNetworkPolicy": "stagedglobalnetworkpolicies",
}


def tier_of(resource: Resource) -> str:
    """The tier a policy is in."""
    return str(getattr(getattr(resource, "spec", None), "tier", "")) or "default"


async def check_references(store: Store, key: ResourceKey, resource: Resource, old: Resource | None) -> tuple[Op, ...]:
    """NotFound or InvalidInput when something needed is missing; else conditions to add to the write's transaction.

    ``old`` is None on create.
    """
    if key.kind in TIERED_PLURALS and old is None:
        return (await _tier_exists(store, key, resource),)
    if isinstance(resource, BGPPeer):
        return await _filters_exist(store, key, resource)
    if isinstance(resource, IPPool):
        await _pool_fits(store, key, resource, old)
    return ()


async def _tier_exists(store: Store, key: ResourceKey, resource: Resource) -> Op:
    tier = ResourceKey("Tier", "", tier_of(resource))
    found = await store.backend.get(key_path(tier))
    if found is None:
        raise NotFound(f"{tier} does not exist; {key} needs it")
    return Op(found.key, expect=found.mod_revision, check_only=True)


async def _filters_exist(store: Store, key: ResourceKey, peer: BGPPeer) -> tuple[Op, ...]:
    conditions = []
    for name in dict.fromkeys(peer.spec.filters):
        found = await store.backend.get(f"{RESOURCE_PREFIX}bgpfilters/{name}")
        if found is None:
            raise NotFound(f"BGPFilter {name} does not exist; {key} needs it")
        conditions.append(Op(found.key, expect=found.mod_revision, check_only=True))
    return tuple(conditions)


async def _pool_fits(store: Store, key: ResourceKey, pool: IPPool, old: Resource | None) -> None:
    """A pool overlaps no other; its range and block size never change."""
    network = _network(pool)
    if isinstance(old, IPPool):
        if _network(old) != network:
            raise InvalidInput(f"cannot be changed (it is {old.spec.cidr})", subject=str(key), field="spec.cidr")
        size = with_defaults(old).spec.block_size  # others may have left it out
        if size != pool.spec.block_size:
            message = f"cannot be changed (it is {size})"
            raise InvalidInput(message, subject=str(key), field="spec.blockSize")
        return
    for other in await store.list("IPPool"):
        if isinstance(other, IPPool) and other.metadata.name != key.name and _overlap(network, _network(other)):
            message = f"{pool.spec.cidr} overlaps IPPool {other.metadata.name} ({other.spec.cidr})"
            raise InvalidInput(message, subject=str(key), field="spec.cidr")
    if store.ipam is not None and (fault := await store.ipam.pool_fault(store.backend, pool)):
        raise InvalidInput(fault, subject=str(key), field="spec.blockSize")


def _network(pool: IPPool) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(pool.spec.cidr, strict=False)
    except ValueError:
        return None


def _overlap(one: IPv4Network | IPv6Network | None, other: IPv4Network | IPv6Network | None) -> bool:
    if isinstance(one, IPv4Network) and isinstance(other, IPv4Network):
        return one.overlaps(other)
    return isinstance(one, IPv6Network) and isinstance(other, IPv6Network) and one.overlaps(other)
