"""Which local endpoint gets an external address that several claim: the one with the lowest key.

What is the own address of a local endpoint nobody gets as external one: packets to it would be taken from its owner.
"""

from __future__ import annotations

from calico.calc.endpoints import Endpoint
from calico.calc.nats import Nats
from calico.lib import packed
from calico.model.keys import ResourceKey

__all__ = ["NatClaims"]


class NatClaims:
    """Always true: ``_claims`` holds the keys of ``_endpoints`` by external and ``_owners`` by own address."""

    def __init__(self) -> None:
        self._endpoints: dict[ResourceKey, Endpoint] = {}
        self._claims: dict[bytes, set[ResourceKey]] = {}
        self._owners: dict[bytes, set[ResourceKey]] = {}

    def on_endpoint(self, key: ResourceKey, endpoint: Endpoint | None) -> set[ResourceKey]:
        """A local endpoint is new or changed; None: absent. Returns whose grant may be another than before."""
        touched = {key}
        old = self._endpoints.pop(key, None)
        if old is not None:
            touched |= self._rivals(old)
            for _, external in old.nats:
                _discard(self._claims, external, key)
            for net in old.nets:
                _discard(self._owners, net[:-1], key)
        if endpoint is not None:
            self._endpoints[key] = endpoint
            for _, external in endpoint.nats:
                self._claims.setdefault(external, set()).add(key)
            for net in endpoint.nets:
                self._owners.setdefault(net[:-1], set()).add(key)
            touched |= self._rivals(endpoint)
        return touched

    def granted(self, key: ResourceKey) -> tuple[Nats, tuple[str, ...]]:
        """The NATs that a local endpoint gets, and sentences on those that another's claim takes from it."""
        nats: list[tuple[bytes, bytes]] = []
        problems: list[str] = []
        for own, external in self._endpoints[key].nats:
            owners = self._owners.get(external)
            winner = min(self._claims[external])
            if owners:
                name = min(owners)
                problems.append(_problem(external, f"is an own address of {name.namespace}/{name.name}"))
            elif winner != key:
                problems.append(_problem(external, f"belongs to {winner.namespace}/{winner.name}"))
            else:
                nats.append((own, external))
        return tuple(nats), tuple(problems)

    def _rivals(self, endpoint: Endpoint) -> set[ResourceKey]:
        """Whoever claims what the endpoint claims or owns."""
        addresses = {external for _, external in endpoint.nats} | {net[:-1] for net in endpoint.nets}
        return {key for address in addresses for key in self._claims.get(address, ())}


def _problem(external: bytes, text: str) -> str:
    return f"spec.ipNATs: {packed.addr_str(external)} {text}"


def _discard(index: dict[bytes, set[ResourceKey]], address: bytes, key: ResourceKey) -> None:
    index[address].discard(key)
    if not index[address]:
        del index[address]
