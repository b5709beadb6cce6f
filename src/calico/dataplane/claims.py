"""Which endpoint gets an interface or an address that several on this host claim. Pure.

The lowest resource key wins, whatever the order in which they appeared. An endpoint that does not get its interface
gets nothing, so its addresses go to the next claimant that has one. Floating addresses are claimed like its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from calico.calc.messages import EndpointId, EndpointUpdate
from calico.lib import packed

__all__ = ["Claims", "Share", "claimed_nets"]


K = TypeVar("K")


class Share(msgspec.Struct, frozen=True):
    """What an endpoint gets: its interface or nothing, and the nets it won. ``problems`` names who has the rest."""

    interface: bool
    nets: tuple[bytes, ...]
    problems: tuple[str, ...] = ()


def claimed_nets(update: EndpointUpdate) -> tuple[bytes, ...]:
    """What leads to an endpoint: its own addresses and the external ones that are translated to them."""
    return (*update.nets, *(packed.net_of_host(external) for _, external in update.nats), *_shared(update))


def _shared(update: EndpointUpdate) -> dict[bytes, None]:
    """External addresses of forwarded ports. It is no matter who gets the route: ports are translated before it."""
    return dict.fromkeys(packed.net_of_host(forward.external) for forward in update.forwards)


class Claims:
    """All endpoints of the host, indexed by what they claim."""

    def __init__(self) -> None:
        self._endpoints: dict[EndpointId, EndpointUpdate] = {}
        self._interfaces: dict[str, set[EndpointId]] = {}
        self._nets: dict[bytes, set[EndpointId]] = {}

    def __contains__(self, endpoint: EndpointId) -> bool:
        return endpoint in self._endpoints

    def get(self, endpoint: EndpointId) -> EndpointUpdate | None:
        """The endpoint as last put."""
        return self._endpoints.get(endpoint)

    def ids(self) -> Iterable[EndpointId]:
        """Every endpoint."""
        return self._endpoints

    def put(self, update: EndpointUpdate) -> set[EndpointId]:
        """Add or change an endpoint; returns every endpoint whose share may differ now, itself included."""
        affected = self.remove(update.id)
        self._endpoints[update.id] = update
        self._interfaces.setdefault(update.interface, set()).add(update.id)
        for net in claimed_nets(update):
            self._nets.setdefault(net, set()).add(update.id)
        return affected | self._rivals(update) | {update.id}

    def remove(self, endpoint: EndpointId) -> set[EndpointId]:
        """Remove an endpoint; returns the others whose share may differ now."""
        old = self._endpoints.get(endpoint)
        if old is None:
            return set()
        affected = self._rivals(old)
        del self._endpoints[endpoint]
        _discard(self._interfaces, old.interface, endpoint)
        for net in claimed_nets(old):
            _discard(self._nets, net, endpoint)
        return affected - {endpoint}

    def share(self, endpoint: EndpointId) -> Share:
        """What the endpoint gets now."""
        update = self._endpoints[endpoint]
        owner = self.interface_owner(update.interface)
        if owner is not None and owner != endpoint:
            return Share(False, (), (f"interface {update.interface} belongs to {self._endpoints[owner].key}",))
        nets, problems, shared = [], [], _shared(update)
        for net in dict.fromkeys(claimed_nets(update)):
            winner = self.net_owner(net)
            if winner is None or winner == endpoint:
                nets.append(net)
            elif net not in shared:
                problems.append(f"address {packed.net_str(net)} belongs to {self._endpoints[winner].key}")
        return Share(True, tuple(nets), tuple(problems))

    def on_interface(self, name: str) -> frozenset[EndpointId]:
        """Everybody who claims an interface."""
        return frozenset(self._interfaces.get(name, ()))

    def interface_owner(self, name: str) -> EndpointId | None:
        """Who gets an interface."""
        return self._lowest(self._interfaces.get(name, ()))

    def net_owner(self, net: bytes) -> EndpointId | None:
        """Who gets a net: the lowest of its claimants that get their interface."""
        claimants = self._nets.get(net, ())
        return self._lowest(c for c in claimants if self.interface_owner(self._endpoints[c].interface) == c)

    def _lowest(self, claimants: Iterable[EndpointId]) -> EndpointId | None:
        return min(claimants, key=lambda c: (self._endpoints[c].key, c), default=None)

    def _rivals(self, update: EndpointUpdate) -> set[EndpointId]:
        """Claimants of the same interface, and of any address that one of those claims."""
        found = set(self._interfaces.get(update.interface, ())) | {update.id}
        nets = {net for claimant in found for net in claimed_nets(self._endpoints[claimant])}
        for net in nets:
            found |= self._nets.get(net, set())
        return found


def _discard(index: dict[K, set[EndpointId]], key: K, value: EndpointId) -> None:
    values = index.get(key)
    if values is not None:  # an endpoint may name a net twice
        values.discard(value)
        if not values:
            del index[key]
