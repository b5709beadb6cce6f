"""Which local endpoint gets an external port that several claim: the one with the lowest key.

Endpoints share an external address, each with ports of its own. What is the own address of a local endpoint is
nobody's external one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from calico.calc.endpoints import Endpoint
from calico.calc.forwards import Forwards, forward_text
from calico.calc.messages import Forward
from calico.model.keys import ResourceKey

__all__ = ["ForwardClaims", "forward_refusal"]

_Claim = tuple[int, bytes, int] | bytes
"""An external port, or an address."""


class ForwardClaims:
    """Always true: ``_claims`` holds the keys of ``_endpoints`` by external port and by external address, and
    ``_owners`` by own address. Only of endpoints that forward, or own an address: cost O(change)."""

    def __init__(self) -> None:
        self._endpoints: dict[ResourceKey, Endpoint] = {}
        self._claims: dict[_Claim, set[ResourceKey]] = {}
        self._owners: dict[_Claim, set[ResourceKey]] = {}

    def on_endpoint(self, key: ResourceKey, endpoint: Endpoint | None) -> set[ResourceKey]:
        """A local endpoint is new or changed; None: absent. Returns whose grant may be another than before."""
        touched: set[ResourceKey] = set()
        old = self._endpoints.pop(key, None)
        if old is not None:
            touched |= self._rivals(old)
            for claim in _claims_of(old):
                _discard(self._claims, claim, key)
            for net in old.nets:
                _discard(self._owners, net[:-1], key)
        if endpoint is not None:
            self._endpoints[key] = endpoint
            for claim in _claims_of(endpoint):
                self._claims.setdefault(claim, set()).add(key)
            for net in endpoint.nets:
                self._owners.setdefault(net[:-1], set()).add(key)
            touched |= self._rivals(endpoint)
        return touched

    def granted(self, key: ResourceKey) -> tuple[Forwards, tuple[str, ...]]:
        """The forwards that a local endpoint gets, and sentences on those that another's claim takes from it."""
        forwards: list[Forward] = []
        problems: list[str] = []
        for forward in self._endpoints[key].forwards:
            claimants = self._claims[forward.protocol, forward.external, forward.external_port]
            refusal = forward_refusal(key, forward, self._owners.get(forward.external, ()), claimants)
            if refusal:
                problems.append(refusal)
            else:
                forwards.append(forward)
        return tuple(forwards), tuple(problems)

    def _rivals(self, endpoint: Endpoint) -> set[ResourceKey]:
        """Whoever forwards what the endpoint forwards, or owns."""
        claims = [*_claims_of(endpoint), *(net[:-1] for net in endpoint.nets)]
        return {key for claim in claims for key in self._claims.get(claim, ())}


def forward_refusal(
    key: ResourceKey, forward: Forward, owners: Iterable[ResourceKey], claimants: Iterable[ResourceKey]
) -> str:
    """Why an endpoint does not get a port that it claims; empty when it gets it. ``owners`` have the external address
    as their own."""
    owner, winner = min(owners, default=None), min(claimants)
    if owner is not None:
        reason = f"the address is one of {owner.namespace}/{owner.name}"
    elif winner != key:
        reason = f"it belongs to {winner.namespace}/{winner.name}"
    else:
        return ""
    return f"{forward_text(forward)} is not forwarded: {reason}"


def _claims_of(endpoint: Endpoint) -> Iterator[_Claim]:
    for forward in endpoint.forwards:
        yield forward.protocol, forward.external, forward.external_port
        yield forward.external


def _discard(index: dict[_Claim, set[ResourceKey]], claim: _Claim, key: ResourceKey) -> None:
    holders = index.get(claim)
    if holders is not None:  # an endpoint names an address for each of its ports
        holders.discard(key)
        if not holders:
            del index[claim]
