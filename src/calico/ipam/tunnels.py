"""The addresses of a host in VXLAN networks: given out by IPAM under a handle of the node, recorded in its Node.

Calico's names are used (data model §9), so a cluster that either has set up is understood by the other.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

import msgspec

from calico.datastore.typed.store import Store
from calico.errors import AlreadyExists, CalicoError, InvalidInput
from calico.ipam.allocator import Allocator
from calico.ipam.choice.pools import enabled_fault
from calico.ipam.requests import AssignRequest
from calico.model.ippool import IPPool
from calico.model.node import Node
from calico.model.selector import parse

__all__ = ["VERSIONS", "Settled", "Version", "settle_tunnels", "tunnel_pools"]

Version: TypeAlias = Literal[4, 6]
VERSIONS: tuple[Version, Version] = (4, 6)

_HANDLE = {4: "vxlan-tunnel-addr-", 6: "vxlan-v6-tunnel-addr-"}
_TYPE = {4: "vxlanTunnelAddress", 6: "vxlanV6TunnelAddress"}
_NEVER = ("", "Never")


class Settled(msgspec.Struct, frozen=True):
    """``addresses``: what the node has now, by IP version; ``changed`` of those; ``faults``: why there is none."""

    addresses: Mapping[Version, str]
    changed: frozenset[Version]
    faults: Mapping[Version, str]


def tunnel_pools(pools: Iterable[IPPool], node: Node, version: Version) -> tuple[tuple[IPPool, ...], str]:
    """The pools that the node's address in the network may come from; with none why, if there is such a network."""
    asking = [p for p in pools if p.spec.vxlan_mode not in _NEVER and (":" in p.spec.cidr) == (version == 6)]
    faults = {pool.metadata.name: _fault(pool, node) for pool in asking}
    usable = tuple(pool for pool in asking if not faults[pool.metadata.name])
    said = "; ".join(f"IPPool {name}: {fault}" for name, fault in faults.items() if fault)
    return usable, "" if usable else said


async def settle_tunnels(store: Store, allocator: Allocator, name: str, pools: Iterable[IPPool]) -> Settled:
    """See that a node has an address in each VXLAN network that pools ask for, and in no other.

    An address that the node has and that is its own in IPAM stays. NotFound when there is no such Node; Conflict when
    somebody changed the Node meanwhile: nothing is left given out then, and another try is worth it.
    """
    node = await store.get("Node", name)
    assert isinstance(node, Node)
    pools = tuple(pools)
    addresses: dict[Version, str] = {}
    faults: dict[Version, str] = {}
    fresh: list[Version] = []
    for version in VERSIONS:
        usable, fault = tunnel_pools(pools, node, version)
        if fault:
            faults[version] = fault
        has = _recorded(node, version)
        if usable and not (has and await _is_ours(allocator, has, name, version, usable)):
            found = await _assign(allocator, name, version, usable)
            if isinstance(found, str):
                faults[version] = found
            else:
                has, fresh = str(found), [*fresh, version]
        addresses[version] = has if usable and version not in faults else ""
    changed = frozenset(version for version in VERSIONS if addresses[version] != _recorded(node, version))
    if changed:
        try:
            await store.replace(_with(node, addresses))
        except CalicoError:
            for version in fresh:
                await allocator.release_by_handle(_HANDLE[version] + name)
            raise
    for version in changed:
        if not addresses[version]:
            await allocator.release_by_handle(_HANDLE[version] + name)
    return Settled({v: a for v, a in addresses.items() if a}, changed, faults)


async def _is_ours(allocator: Allocator, address: str, name: str, version: Version, usable: tuple[IPPool, ...]) -> bool:
    """Whether an address is within a pool and the node's in IPAM; one that nobody has is taken, so that it stays."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if not any(parsed in ipaddress.ip_network(pool.spec.cidr) for pool in usable):
        return False
    handle = _HANDLE[version] + name
    held = await allocator.get_attributes(address)
    if held is not None:
        return held.handle == handle
    try:
        await allocator.assign_ip(
            address, hostname=name, handle=handle, attrs={"node": name, "type": _TYPE[version]}, use="Tunnel"
        )
    except (AlreadyExists, InvalidInput):
        return False
    return True


async def _assign(
    allocator: Allocator, name: str, version: Version, usable: tuple[IPPool, ...]
) -> ipaddress.IPv4Address | ipaddress.IPv6Address | str:
    """A new address, or why there is none. What the handle had before is taken back: nobody knows of it any more."""
    handle = _HANDLE[version] + name
    await allocator.release_by_handle(handle)
    names = tuple(pool.metadata.name for pool in usable)
    found = await allocator.auto_assign(
        AssignRequest(
            hostname=name,
            v4=int(version == 4),
            v6=int(version == 6),
            handle=handle,
            attrs={"node": name, "type": _TYPE[version]},
            pools_v4=names if version == 4 else (),
            pools_v6=names if version == 6 else (),
            use="Tunnel",
        )
    )
    given = found.v4 if version == 4 else found.v6
    return given[0].ip if given else found.reason


def _fault(pool: IPPool, node: Node) -> str:
    """Why a pool gives the node no address of a tunnel; empty when it may."""
    if fault := enabled_fault(pool):
        return fault
    if "Tunnel" not in (pool.spec.allowed_uses or ("Workload", "Tunnel")):
        return "its allowedUses do not contain Tunnel"
    try:
        selects = parse(pool.spec.node_selector or "all()").matches(node.metadata.labels)
    except InvalidInput as error:
        return f"its selector cannot be read: {error.message}"
    return "" if selects else "its nodeSelector does not select the node"


def _recorded(node: Node, version: Version) -> str:
    return node.spec.ipv4_vxlan_tunnel_addr if version == 4 else node.spec.ipv6_vxlan_tunnel_addr


def _with(node: Node, addresses: Mapping[Version, str]) -> Node:
    spec = msgspec.structs.replace(node.spec, ipv4_vxlan_tunnel_addr=addresses[4], ipv6_vxlan_tunnel_addr=addresses[6])
    return msgspec.structs.replace(node, spec=spec)
