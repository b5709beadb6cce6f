"""The addresses of a host in tunnels: given out by IPAM under a handle of the node, recorded in its Node.

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
from calico.model.node import Node, NodeBGPSpec
from calico.model.selector import parse

__all__ = ["TUNNELS", "Settled", "Tunnel", "recorded", "settle_tunnels", "tunnel_name", "tunnel_pools"]

Tunnel: TypeAlias = Literal[4, 6, "ipip"]
"""The VXLAN network of an IP version, or IP in IP."""
TUNNELS: tuple[Tunnel, ...] = (4, 6, "ipip")

_HANDLE: Mapping[Tunnel, str] = {4: "vxlan-tunnel-addr-", 6: "vxlan-v6-tunnel-addr-", "ipip": "ipip-tunnel-addr-"}
_TYPE: Mapping[Tunnel, str] = {4: "vxlanTunnelAddress", 6: "vxlanV6TunnelAddress", "ipip": "ipipTunnelAddress"}
_NEVER = ("", "Never")


class Settled(msgspec.Struct, frozen=True):
    """``addresses``: what the node has now, by tunnel; ``changed`` of those; ``faults``: why there is none."""

    addresses: Mapping[Tunnel, str]
    changed: frozenset[Tunnel]
    faults: Mapping[Tunnel, str]


def tunnel_pools(pools: Iterable[IPPool], node: Node, tunnel: Tunnel) -> tuple[tuple[IPPool, ...], str]:
    """The pools that the node's address in the tunnel may come from; with none why, if there is such a tunnel."""
    asking = [pool for pool in pools if _asks(pool, tunnel)]
    faults = {pool.metadata.name: _fault(pool, node) for pool in asking}
    usable = tuple(pool for pool in asking if not faults[pool.metadata.name])
    said = "; ".join(f"IPPool {name}: {fault}" for name, fault in faults.items() if fault)
    return usable, "" if usable else said


async def settle_tunnels(store: Store, allocator: Allocator, name: str, pools: Iterable[IPPool]) -> Settled:
    """See that a node has an address in each tunnel that pools ask for, and in no other.

    An address that the node has and that is its own in IPAM stays. NotFound when there is no such Node; Conflict when
    somebody changed the Node meanwhile: nothing is left given out then, and another try is worth it.
    """
    node = await store.get("Node", name)
    assert isinstance(node, Node)
    pools = tuple(pools)
    addresses: dict[Tunnel, str] = {}
    faults: dict[Tunnel, str] = {}
    fresh: list[Tunnel] = []
    for tunnel in TUNNELS:
        usable, fault = tunnel_pools(pools, node, tunnel)
        if fault:
            faults[tunnel] = fault
        has = recorded(node, tunnel)
        if usable and not (has and await _is_ours(allocator, has, name, tunnel, usable)):
            found = await _assign(allocator, name, tunnel, usable)
            if isinstance(found, str):
                faults[tunnel] = found
            else:
                has, fresh = str(found), [*fresh, tunnel]
        addresses[tunnel] = has if usable and tunnel not in faults else ""
    changed = frozenset(tunnel for tunnel in TUNNELS if addresses[tunnel] != recorded(node, tunnel))
    if changed:
        try:
            await store.replace(_with(node, addresses))
        except CalicoError:
            for tunnel in fresh:
                await allocator.release_by_handle(_HANDLE[tunnel] + name)
            raise
    for tunnel in changed:
        if not addresses[tunnel]:
            await allocator.release_by_handle(_HANDLE[tunnel] + name)
    return Settled({v: a for v, a in addresses.items() if a}, changed, faults)


async def _is_ours(allocator: Allocator, address: str, name: str, tunnel: Tunnel, usable: tuple[IPPool, ...]) -> bool:
    """Whether an address is within a pool and the node's in IPAM; one that nobody has is taken, so that it stays."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if not any(parsed in ipaddress.ip_network(pool.spec.cidr) for pool in usable):
        return False
    handle = _HANDLE[tunnel] + name
    held = await allocator.get_attributes(address)
    if held is not None:
        return held.handle == handle
    try:
        await allocator.assign_ip(
            address, hostname=name, handle=handle, attrs={"node": name, "type": _TYPE[tunnel]}, use="Tunnel"
        )
    except (AlreadyExists, InvalidInput):
        return False
    return True


async def _assign(
    allocator: Allocator, name: str, tunnel: Tunnel, usable: tuple[IPPool, ...]
) -> ipaddress.IPv4Address | ipaddress.IPv6Address | str:
    """A new address, or why there is none. What the handle had before is taken back: nobody knows of it any more."""
    handle = _HANDLE[tunnel] + name
    await allocator.release_by_handle(handle)
    names = tuple(pool.metadata.name for pool in usable)
    found = await allocator.auto_assign(
        AssignRequest(
            hostname=name,
            v4=int(tunnel != 6),
            v6=int(tunnel == 6),
            handle=handle,
            attrs={"node": name, "type": _TYPE[tunnel]},
            pools_v4=names if tunnel != 6 else (),
            pools_v6=names if tunnel == 6 else (),
            use="Tunnel",
        )
    )
    given = found.v4 if tunnel != 6 else found.v6
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


def recorded(node: Node, tunnel: Tunnel) -> str:
    """The address that a Node says it has in a tunnel; empty: none."""
    if tunnel == "ipip":
        return node.spec.bgp.ipv4_ipip_tunnel_addr if node.spec.bgp is not None else ""
    return node.spec.ipv4_vxlan_tunnel_addr if tunnel == 4 else node.spec.ipv6_vxlan_tunnel_addr


def tunnel_name(tunnel: Tunnel) -> str:
    """A tunnel for people: VXLAN by its IP version."""
    return "IPIP" if tunnel == "ipip" else f"IPv{tunnel}"


def _asks(pool: IPPool, tunnel: Tunnel) -> bool:
    """Whether a pool asks for a tunnel; one that asks for VXLAN as well has that."""
    spec = pool.spec
    if spec.vxlan_mode not in _NEVER:
        return tunnel == (6 if ":" in spec.cidr else 4)
    return tunnel == "ipip" and spec.ipip_mode not in _NEVER and ":" not in spec.cidr


def _with(node: Node, addresses: Mapping[Tunnel, str]) -> Node:
    """The Node with these addresses. Where that of IP in IP was all that its BGP said, BGP goes with it."""
    old = node.spec.bgp
    bgp: NodeBGPSpec | None = msgspec.structs.replace(old or NodeBGPSpec(), ipv4_ipip_tunnel_addr=addresses["ipip"])
    if bgp != old and bgp == NodeBGPSpec():
        bgp = None
    spec = msgspec.structs.replace(
        node.spec, ipv4_vxlan_tunnel_addr=addresses[4], ipv6_vxlan_tunnel_addr=addresses[6], bgp=bgp
    )
    return msgspec.structs.replace(node, spec=spec)
