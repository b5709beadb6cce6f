"""Which pools an address may come from (spec §9.2), and which addresses are reserved. Pure."""

from __future__ import annotations

import ipaddress
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from calico.errors import InvalidInput
from calico.ipam.keys import Address, Network
from calico.model.ipam import IPReservation
from calico.model.ippool import IPPool
from calico.model.selector import parse

__all__ = ["Pool", "Reserved", "enabled_fault", "pool_of", "pools_for_use", "usable_pools"]

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


def pools_for_use(resources: Iterable[IPPool], address: Address, use: str) -> tuple[Pool | None, str]:
    """The pool that an address lies in, if it may be given (for ``use``, when that is said); else why not."""
    for resource in resources:
        try:
            pool = pool_of(resource)
        except ValueError:
            continue
        if address.version == pool.version and address in pool.network:
            if fault := enabled_fault(resource):
                return None, f"IPPool {pool.name}: {fault}"
            if use and use not in pool.uses:
                return None, f"IPPool {pool.name}: its allowedUses do not contain {use}"
            return pool, ""
    return None, "it lies in no IPPool"


class Reserved:
    """The addresses of all IPReservations, as ranges that do not touch."""

    def __init__(self, reservations: Iterable[IPReservation]) -> None:
        ranges: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
        for reservation in reservations:
            for cidr in reservation.spec.reserved_cidrs:
                net = ipaddress.ip_network(cidr, strict=False)
                ranges[net.version].append((int(net.network_address), int(net.broadcast_address)))
        self._ranges = {version: _joined(found) for version, found in ranges.items()}

    def covers(self, version: int, address: int) -> bool:
        """Whether an address, as a number, is reserved."""
        ranges = self._ranges[version]
        index = bisect_right(ranges, address, key=lambda pair: pair[0])
        return index > 0 and address <= ranges[index - 1][1]

    def covers_all(self, block: Network) -> bool:
        """Whether no address of a block is free of reservation."""
        ranges = self._ranges[block.version]
        index = bisect_right(ranges, int(block.network_address), key=lambda pair: pair[0])
        return index > 0 and int(block.broadcast_address) <= ranges[index - 1][1]


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


def _named(resource: IPPool) -> str:
    return f"IPPool {resource.metadata.name}"
