"""The executable specification of encryption: recompute peers and routes from nodes, blocks and addresses, naively."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from calico.calc.encap import VERSIONS
from calico.calc.messages import WireguardPeerUpdate, WireguardRouteUpdate
from calico.calc.net_cover import masked
from calico.calc.settings import CalcSettings
from calico.calc.wireguard_ends import wireguard_ends
from calico.lib import packed
from calico.model.keys import ResourceKey
from calico.model.meta import Resource
from calico.model.node import Node

__all__ = ["recompute_wireguard"]


def recompute_wireguard(
    hostname: str,
    resources: Mapping[ResourceKey, Resource],
    blocks: Collection[tuple[bytes, str]],
    holders: Iterable[tuple[ResourceKey, str, tuple[bytes, ...]]],
    settings: CalcSettings,
) -> tuple[dict[tuple[str, int], WireguardPeerUpdate], dict[bytes, WireguardRouteUpdate]]:
    """The peers and the routes that ``hostname`` must have. ``holders``: endpoint, node and nets of each."""
    peers: dict[tuple[str, int], WireguardPeerUpdate] = {}
    routes: dict[bytes, WireguardRouteUpdate] = {}
    nodes = {key: wireguard_ends(value)[0] for key, value in resources.items() if isinstance(value, Node)}
    for version in VERSIONS:
        if version not in settings.wireguard:
            continue
        ends = {key.name: of[version] for key, of in nodes.items() if version in of}
        says = [end.key for end in ends.values() if end.key]
        asking = {name for name, end in ends.items() if end.encrypts and name != hostname}
        usable = {name for name in asking if says.count(ends[name].key) == 1 and ends[name].endpoint}
        for name in usable:
            end = ends[name]
            peers[name, version] = WireguardPeerUpdate(node=name, version=version, key=end.key, endpoint=end.endpoint)
        own = ends.get(hostname)
        if own is not None and own.address:
            peers[hostname, version] = WireguardPeerUpdate(
                node=hostname, version=version, address=own.address, own=True
            )
        held: dict[bytes, list[tuple[bool, ResourceKey, str]]] = {}
        for key, node, nets in holders:
            for net in nets:
                held.setdefault(net, []).append((False, key, node))
        for name, end in ends.items():
            for address in (end.address, end.endpoint if settings.wireguard_hosts else b""):
                if address:
                    entry = (True, ResourceKey("Node", "", name), name)
                    held.setdefault(packed.net_of_host(address), []).append(entry)

        def owner(net: bytes, held: dict[bytes, list[tuple[bool, ResourceKey, str]]] = held) -> str:
            found = [node for _, _, node in sorted(held.get(net, ()))] or sorted(n for b, n in blocks if b == net)
            return hostname if hostname in found else found[0]

        for dst in {*held, *(net for net, _ in blocks)}:
            if packed.is_v6(dst) != (version == 6):
                continue
            outer = {net for net, _ in blocks if net != dst and _holds(net, dst)}
            node = owner(dst)
            if outer and owner(max(outer, key=lambda net: net[-1])) == node:
                continue
            if node in asking:
                routes[dst] = WireguardRouteUpdate(dst=dst, kind="peer" if node in usable else "unreachable", node=node)
            elif any(owner(net) in asking for net in outer):
                routes[dst] = WireguardRouteUpdate(dst=dst, kind="throw")
    return peers, routes


def _holds(outer: bytes, inner: bytes) -> bool:
    return len(outer) == len(inner) and outer[-1] <= inner[-1] and masked(inner, outer[-1]) == outer
