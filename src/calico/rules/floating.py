"""Floating addresses as elements of maps: external to own address and back, and a workload's way to itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from calico.calc.messages import EndpointId, EndpointUpdate
from calico.netlink.nftables.objects import KeyField, SetDecl
from calico.rules.room import MIN_SIZE, make_room
from calico.rules.table import TableState

__all__ = ["DNAT", "SELF", "SNAT", "FloatingMaps"]

DNAT: Final = {4: "fip-dnat4", 6: "fip-dnat6"}
SNAT: Final = {4: "fip-snat4", 6: "fip-snat6"}
SELF: Final = {4: "fip-self4", 6: "fip-self6"}
_FIELD: Final[dict[int, KeyField]] = {4: "ipv4_addr", 6: "ipv6_addr"}


class FloatingMaps:
    """Always true: an external address is its lowest claimant's, and an own address goes out as the first external one
    that its lowest claimant has got for it. The maps are in the table iff an endpoint has a floating address.
    """

    def __init__(self, state: TableState) -> None:
        self._state = state
        self._endpoints: dict[EndpointId, EndpointUpdate] = {}
        self._claims: dict[bytes, set[EndpointId]] = {}
        self._owners: dict[bytes, set[EndpointId]] = {}

    def __bool__(self) -> bool:
        return bool(self._endpoints)

    def change(self, before: EndpointUpdate | None, after: EndpointUpdate | None) -> bool:
        """An endpoint that is in force comes, changes or goes; whether the maps have come or gone. Cost O(change)."""
        was = bool(self)
        touched = {nat for endpoint in (before, after) if endpoint for nat in endpoint.nats}
        if before is not None and before.nats:
            del self._endpoints[before.id]
            for own, external in before.nats:
                _discard(self._claims, external, before.id)
                _discard(self._owners, own, before.id)
        if after is not None and after.nats:
            self._endpoints[after.id] = after
            for own, external in after.nats:
                self._claims.setdefault(external, set()).add(after.id)
                self._owners.setdefault(own, set()).add(after.id)
        if not was and self:
            for decl in _maps():
                self._state.want_set(decl)
        if self:
            self._write(touched)
        else:
            for decl in _maps():
                self._state.unwant_set(decl.name)
        return was != bool(self)

    def _write(self, touched: set[tuple[bytes, bytes]]) -> None:
        externals = {external for _, external in touched}
        owns = {own for own, _ in touched}
        owns |= {own for external in externals for own in self._rival_owns(external)}
        for external in externals:
            self._put(DNAT, external, external, self._own_of(external))
        for own in owns:
            value = self._external_of(own)
            self._put(SNAT, own, own, value)
            self._put(SELF, own, own + own, value)

    def _put(self, maps: dict[int, str], of: bytes, key: bytes, value: bytes | None) -> None:
        name = maps[4 if len(of) == 4 else 6]
        if value is None:
            self._state.unwant_element(name, key)
        else:
            self._state.want_element(name, key, value)
            make_room(self._state, name)

    def _rival_owns(self, external: bytes) -> Iterator[bytes]:
        for claimant in self._claims.get(external, ()):
            yield from (own for own, _ in self._endpoints[claimant].nats)

    def _own_of(self, external: bytes) -> bytes | None:
        winner = min(self._claims.get(external, ()), default=None)
        if winner is None:
            return None
        return next(own for own, claimed in self._endpoints[winner].nats if claimed == external)

    def _external_of(self, own: bytes) -> bytes | None:
        for owner in sorted(self._owners.get(own, ())):
            for address, external in self._endpoints[owner].nats:
                if address == own and min(self._claims[external]) == owner:
                    return external
        return None


def _maps() -> Iterator[SetDecl]:
    for version, field in _FIELD.items():
        yield SetDecl(DNAT[version], (field,), field, size=MIN_SIZE)
        yield SetDecl(SNAT[version], (field,), field, size=MIN_SIZE)
        yield SetDecl(SELF[version], (field, field), field, size=MIN_SIZE)


def _discard(index: dict[bytes, set[EndpointId]], address: bytes, endpoint: EndpointId) -> None:
    holders = index.get(address)
    if holders is not None:  # an endpoint may name an own address twice
        holders.discard(endpoint)
        if not holders:
            del index[address]
