"""Which pools an address may come from (spec §9.2), and which addresses are reserved. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from calico.errors import InvalidInput
from calico.ipam.choice.ranges import Ranges
from calico.ipam.stored.keys import Address, Network
from calico.model.ipam import IPReservation
from calico.model.ippool import IPPool
from calico.model.selector import parse

__all__ = [
    "Choice",
    "Pool",
    "enabled_fault",
    "pool_around",
    "pool_for_address",
    "pool_of",
    "reserved_ranges",
    "usable_pools",
]

_DEFAULT_SIZE = {4: 26, 6: 122}
_DEFAULT_USES = ("Workload", "Tunnel")


class Pool(msgspec.Struct, frozen=True):
    """A pool that can be given from."""

    name: str
    network: Network
    block_size: int
    uses: tuple[str, ...] = _DEFAULT_USES

    @property
    def version(self) -> int:
        return self.network.version


def pool_of(resource: IPPool) -> Pool:
    """The pool with defaults filled in; ValueError when its CIDR or block size makes no sense."""
    network = ipaddress.ip_network(resource.spec.cidr, strict=False)
    size = resource.spec.block_size or _DEFAULT_SIZE[network.version]
    if not network.max_prefixlen - 12 <= size <= network.max_prefixlen:
        raise ValueError(f"spec.blockSize: {size} is outside {network.max_prefixlen - 12} to {network.max_prefixlen}")
    return Pool(resource.metadata.name, network, size, resource.spec.allowed_uses or _DEFAULT_USES)


def enabled_fault(resource: IPPool) -> str:
    """Why nothing may be given from a pool; empty when it may."""
    if resource.spec.disabled:
        return "it is disabled"
    conditions = resource.status.conditions if resource.status is not None else ()
    if any(condition.type == "Allocatable" and condition.status == "False" for condition in conditions):
        return "its status says that it is not allocatable"
    try:
        pool = pool_of(resource)
    except ValueError as error:
        return str(error)
    return "its CIDR is smaller than one block" if pool.network.prefixlen > pool.block_size else ""


class Choice(msgspec.Struct, frozen=True):
    """The pools to use, in order, and why each of the others is not among them."""

    pools: tuple[Pool, ...]
    refused: Mapping[str, str]


def usable_pools(
    resources: Iterable[IPPool],
    version: int,
    asked: Sequence[str],
    use: str,
    node_labels: Mapping[str, str],
    namespace_labels: Mapping[str, str] | None,
) -> Choice:
    """Those asked for by name or CIDR (selectors do not count then), else all that select node and namespace.

    InvalidInput when one that was asked for is not there or cannot be used.
    """
    found: list[Pool] = []
    refused: dict[str, str] = {}
    of_version = [resource for resource in resources if (":" in resource.spec.cidr) == (version == 6)]
    chosen = [_asked_for(name, of_version) for name in asked] if asked else of_version
    for resource in chosen:
        fault = enabled_fault(resource)
        if fault and asked:
            raise InvalidInput(f"addresses were asked for from it, but {fault}", subject=_named(resource))
        if not fault and not asked:
            fault = _selection_fault(resource, node_labels, namespace_labels)
        if not fault and use not in (resource.spec.allowed_uses or _DEFAULT_USES):
            fault = f"its allowedUses do not contain {use}"
        if fault:
            refused[resource.metadata.name] = fault
        else:
            found.append(pool_of(resource))
    return Choice(tuple(found), refused)


def _asked_for(wanted: str, resources: Iterable[IPPool]) -> IPPool:
    try:
        cidr = str(ipaddress.ip_network(wanted))
    except ValueError:
        cidr = wanted
    for resource in resources:
        if wanted == resource.metadata.name or cidr == resource.spec.cidr:
            return resource
    raise InvalidInput("addresses were asked for from it, but there is no such pool", subject=f"IPPool {wanted}")


def _selection_fault(
    resource: IPPool, node_labels: Mapping[str, str], namespace_labels: Mapping[str, str] | None
) -> str:
    if (resource.spec.assignment_mode or "Automatic") != "Automatic":
        return "its assignmentMode is Manual"
    try:
        if not parse(resource.spec.node_selector or "all()").matches(node_labels):
            return "its nodeSelector does not select the node"
        if resource.spec.namespace_selector and not parse(resource.spec.namespace_selector).matches(
            namespace_labels or {}
        ):
            return "its namespaceSelector does not select the namespace"
    except InvalidInput as error:
        return f"its selector cannot be read: {error.message}"
    return ""


def pool_around(resources: Iterable[IPPool], address: Address) -> tuple[Pool | None, IPPool | None]:
    """The first pool that an address lies in, usable or not."""
    for resource in resources:
        try:
            pool = pool_of(resource)
        except ValueError:
            continue
        if address.version == pool.version and address in pool.network:
            return pool, resource
    return None, None


def pool_for_address(resources: Iterable[IPPool], address: Address, use: str) -> tuple[Pool | None, str]:
    """The pool that an address lies in, if it may be given (for ``use``, when that is said); else why not."""
    pool, resource = pool_around(resources, address)
    if pool is None or resource is None:
        return None, "it lies in no IPPool"
    if fault := enabled_fault(resource):
        return None, f"IPPool {pool.name}: {fault}"
    if use and use not in pool.uses:
        return None, f"IPPool {pool.name}: its allowedUses do not contain {use}"
    return pool, ""


def reserved_ranges(reservations: Iterable[IPReservation], version: int) -> Ranges:
    """The reserved addresses of an IP version."""
    networks = [ipaddress.ip_network(cidr, strict=False) for each in reservations for cidr in each.spec.reserved_cidrs]
    return Ranges(net for net in networks if net.version == version)


def _named(resource: IPPool) -> str:
    return f"IPPool {resource.metadata.name}"
