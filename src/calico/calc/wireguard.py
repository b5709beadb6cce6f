"""Which hosts are sent to encrypted, and where their networks are: before, and whatever, all other routes say.

A host that publishes a key is sent to encrypted or not at all; one without is sent to as if there were no encryption.
What such a host, or this one, has within a block of the former is an exception and told as such. A key that two nodes
say is nobody's. Cost of a change is the number of networks it concerns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from calico.calc.encap import VERSIONS, Version
from calico.calc.messages import WireguardPeerUpdate, WireguardRouteUpdate
from calico.calc.settings import CalcSettings
from calico.calc.whereabouts import Whereabouts
from calico.calc.wireguard_ends import NodeKeys
from calico.lib import packed
from calico.model.keys import ResourceKey

__all__ = ["WireguardRoutes"]

_NO_KEYS: Mapping[Version, NodeKeys] = {}
_NOTHING = NodeKeys()
Standing = Literal["", "peer", "unreachable"]


class WireguardRoutes:
    """Always true: what ``take`` has given so far, the last for each key, is what follows from what was told. Nothing
    is remembered where the settings ask for no encryption."""

    def __init__(self, hostname: str, settings: CalcSettings) -> None:
        self._hostname = hostname
        self._versions = settings.wireguard
        self._encrypts_hosts = settings.wireguard_hosts
        self._places = Whereabouts(hostname)
        self._nodes: dict[str, Mapping[Version, NodeKeys]] = {}
        self._by_key: dict[tuple[Version, bytes], set[str]] = {}
        self._dirty: set[bytes] = set()
        self._dirty_nodes: set[str] = set()

    @property
    def active(self) -> bool:
        """Whether this host encrypts."""
        return bool(self._versions)

    def on_node(self, key: ResourceKey, ends: Mapping[Version, NodeKeys]) -> None:
        """What a node says; empty: there is no such node, or it says nothing of use."""
        ends = {version: end for version, end in ends.items() if version in self._versions}
        old = self._nodes.pop(key.name, _NO_KEYS)
        if ends:
            self._nodes[key.name] = ends
        if ends == old:
            return
        changed = {key.name}
        for version in VERSIONS:
            before, after = old.get(version, _NOTHING).key, ends.get(version, _NOTHING).key
            if before != after:
                changed |= self._share(version, before, key.name, says=False)
                changed |= self._share(version, after, key.name, says=True)
        for name in changed:
            self._mark(name)
        held = [end.address for end in ends.values()]
        held += [end.endpoint for end in ends.values() if self._encrypts_hosts]
        nets = dict.fromkeys(packed.net_of_host(address) for address in held if address)
        self._touch(self._places.hold(key, tuple(nets)))

    def on_block(self, net: bytes, node: str, present: bool) -> None:
        """A block is a host's, or is not."""
        self._touch(self._places.on_block(net, node, present))

    def on_endpoint(self, key: ResourceKey, nets: tuple[bytes, ...]) -> None:
        """The addresses (as nets) of an endpoint anywhere; none: it is gone."""
        self._touch(self._places.hold(key, nets))

    def take_peers(self) -> Iterator[tuple[tuple[str, Version], WireguardPeerUpdate | None]]:
        """Peers that may have changed, by (node, version); None: it is none."""
        nodes, self._dirty_nodes = self._dirty_nodes, set()
        for node in nodes:
            for version in VERSIONS:
                yield (node, version), self._peer(node, version)

    def take_routes(self) -> Iterator[tuple[bytes, WireguardRouteUpdate | None]]:
        """Networks of which something else may have to be said, None: nothing."""
        dirty, self._dirty = self._dirty, set()
        for dst in dirty:
            yield dst, self._route(dst)

    def _peer(self, node: str, version: Version) -> WireguardPeerUpdate | None:
        end = self._nodes.get(node, _NO_KEYS).get(version)
        if node == self._hostname:
            address = end.address if end is not None else b""
            return WireguardPeerUpdate(node=node, version=version, address=address, own=True) if address else None
        if end is None or self._standing(node, version) != "peer":
            return None
        return WireguardPeerUpdate(node=node, version=version, key=end.key, endpoint=end.endpoint)

    def _route(self, dst: bytes) -> WireguardRouteUpdate | None:
        version: Version = 6 if packed.is_v6(dst) else 4
        node = self._places.owner(dst)
        if node is None or version not in self._versions:
            return None
        around = self._places.block_around(dst, other=True)
        outer = self._places.owner(around) if around is not None else None
        if node == outer:
            return None
        standing = self._standing(node, version)
        if standing:
            return WireguardRouteUpdate(dst=dst, kind=standing, node=node)
        hidden = outer is not None and self._is_covered(around, version)
        return WireguardRouteUpdate(dst=dst, kind="throw") if hidden else None

    def _is_covered(self, net: bytes | None, version: Version) -> bool:
        """Whether a block, or one around it, is said to be encrypted."""
        while net is not None:
            if self._standing(self._places.owner(net) or "", version):
                return True
            net = self._places.block_around(net, other=True)
        return False

    def _standing(self, node: str, version: Version) -> Standing:
        end = self._nodes.get(node, _NO_KEYS).get(version, _NOTHING)
        if node == self._hostname or not end.encrypts:
            return ""
        alone = end.key and self._by_key[version, end.key] == {node}
        return "peer" if alone and end.endpoint else "unreachable"

    def _share(self, version: Version, key: bytes, node: str, *, says: bool) -> set[str]:
        """A node says a key, or does so no more; who else that concerns."""
        if not key:
            return set()
        nodes = self._by_key.setdefault((version, key), set())
        (nodes.add if says else nodes.discard)(node)
        if not nodes:
            del self._by_key[version, key]
        return set(nodes)

    def _mark(self, node: str) -> None:
        self._dirty_nodes.add(node)
        for net in self._places.of(node):
            self._dirty.add(net)
            if self._places.is_block(net):
                self._dirty.update(self._places.inside(net))

    def _touch(self, nets: Iterator[bytes] | list[bytes]) -> None:
        """Whose a network is may have changed, and of a block what is said of all within it."""
        for net in nets:
            self._dirty.add(net)
            self._dirty.update(self._places.inside(net))
