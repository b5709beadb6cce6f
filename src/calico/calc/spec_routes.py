"""The executable specification of tunnels: recompute all ends and routes from pools, nodes, blocks and addresses.

Naive on purpose, as ``spec`` is: every network is compared with every pool and every block.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from calico.calc.encap import VERSIONS, HostEnd, PoolEncap, Version, host_ends, pool_encap
from calico.calc.messages import IpipUpdate, RouteUpdate, VtepUpdate
from calico.calc.net_cover import masked
from calico.calc.settings import CalcSettings
from calico.lib import packed
from calico.model.ippool import IPPool
from calico.model.keys import ResourceKey
from calico.model.meta import Resource
from calico.model.node import Node
from calico.model.soundness import net_fault

__all__ = ["Blocks", "recompute_tunnels"]

Blocks = Collection[tuple[bytes, str]]
"""(packed net, node): blocks of addresses and whose they are."""


def recompute_tunnels(
    hostname: str,
    resources: Mapping[ResourceKey, Resource],
    blocks: Blocks,
    holders: Iterable[tuple[ResourceKey, str, tuple[bytes, ...]]],
    settings: CalcSettings,
) -> tuple[dict[tuple[str, int], VtepUpdate], IpipUpdate | None, dict[bytes, RouteUpdate]]:
    """The ends of VXLAN, our own of IP in IP, and the routes that ``hostname`` must have.

    ``holders``: endpoint, node and nets of each.
    """
    pools = {
        key: (packed.net(value.spec.cidr), pool_encap(value))
        for key, value in resources.items()
        if isinstance(value, IPPool) and not net_fault(value.spec.cidr)
    }
    ends = {key.name: host_ends(key.name, value)[0] for key, value in resources.items() if isinstance(value, Node)}
    vteps: dict[tuple[str, int], VtepUpdate] = {
        (vtep.node, vtep.version): vtep for vtep in _vteps(pools.values(), ends, settings)
    }
    here = ends.get(hostname, {}).get(4, HostEnd())
    asked = any(encap is not None and encap.kind == "ipip" and _version(net) == 4 for net, encap in pools.values())
    ipip = None
    if asked and settings.ipip and here.address and here.ipip:
        ipip = IpipUpdate(address=here.ipip, parent=here.address)
    if not any(encap for _, encap in pools.values()):
        return vteps, None, {}
    held: dict[bytes, list[tuple[ResourceKey, str]]] = {}
    tunnels = (
        (ResourceKey("Node", "", name), name, tuple(packed.net_of_host(a) for e in of.values() for a in e.inner))
        for name, of in ends.items()
    )
    for key, node, nets in (*holders, *tunnels):
        for net in nets:
            held.setdefault(net, []).append((key, node))

    def owner(net: bytes) -> str | None:
        nodes = [of for _, of in sorted(held.get(net, ()), key=lambda each: (each[0].kind == "Node", each))] or sorted(
            n for block, n in blocks if block == net
        )
        return hostname if hostname in nodes else nodes[0] if nodes else None

    routes = {}
    for dst in {*held, *(net for net, _ in blocks), *(net for net, _ in pools.values())}:
        around = [net for net, _ in pools.values() if _holds(net, dst)]
        encap = (
            min((key, e) for key, (net, e) in pools.items() if net == max(around, key=_length))[1] if around else None
        )
        has, is_pool = owner(dst), dst in around
        if encap is None or ((has is None or has == hostname) and not is_pool):
            continue
        outer = [net for net, _ in blocks if _holds(net, dst)]
        is_block = any(net == dst for net, _ in blocks)
        if has is None or has == hostname:
            routes[dst] = RouteUpdate(dst=dst, kind="unreachable")
        elif is_block or is_pool or not outer or owner(max(outer, key=_length)) != has:
            routes[dst] = _towards(dst, has, encap, hostname, ends, vteps, ipip)
    return vteps, ipip, routes


def _vteps(
    pools: Iterable[tuple[bytes, PoolEncap | None]],
    ends: Mapping[str, Mapping[Version, HostEnd]],
    settings: CalcSettings,
) -> Iterator[VtepUpdate]:
    asked = {_version(net) for net, encap in pools if encap is not None and encap.kind == "vxlan"}
    for node, of in ends.items():
        for version in VERSIONS:
            end = of.get(version, HostEnd())
            wanted = version in asked if settings.vxlan is None else settings.vxlan
            if wanted and end.address and end.tunnel:
                yield VtepUpdate(node=node, version=version, address=end.tunnel, mac=end.mac, parent=end.address)


def _towards(
    dst: bytes,
    node: str,
    encap: PoolEncap,
    hostname: str,
    ends: Mapping[str, Mapping[Version, HostEnd]],
    vteps: Mapping[tuple[str, int], VtepUpdate],
    ipip: IpipUpdate | None,
) -> RouteUpdate:
    version = _version(dst)
    end, own = (ends.get(name, {}).get(version, HostEnd()) for name in (node, hostname))
    near = bool(end.address and own.subnet) and _holds(own.subnet, packed.net_of_host(end.address))
    if encap.cross_subnet and near:
        return RouteUpdate(dst=dst, kind="direct", node=node, gateway=end.address, local=own.address)
    if encap.kind == "ipip" and version == 4 and end.address and ipip is not None:
        return RouteUpdate(dst=dst, kind="ipip", node=node, gateway=end.address)
    if encap.kind == "vxlan" and (node, version) in vteps and (hostname, version) in vteps:
        return RouteUpdate(dst=dst, kind="vxlan", node=node, gateway=end.tunnel)
    return RouteUpdate(dst=dst, kind="unreachable", node=node)


def _holds(outer: bytes, inner: bytes) -> bool:
    return len(outer) == len(inner) and outer[-1] <= inner[-1] and masked(inner, outer[-1]) == outer


def _length(net: bytes) -> int:
    return net[-1]


def _version(net: bytes) -> Version:
    return 6 if packed.is_v6(net) else 4
