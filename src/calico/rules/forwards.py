"""Forwarded ports as elements of maps: from protocol, external address and port to own address, and to own port."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from calico.calc.messages import EndpointId, EndpointUpdate, Forward
from calico.netlink.nftables.expr import Lookup, Meta, Nat, Rule
from calico.netlink.nftables.objects import KeyField, SetDecl
from calico.rules.loads import address, family, port
from calico.rules.room import MIN_SIZE, make_room
from calico.rules.table import TableState

__all__ = ["ForwardMaps", "forwarded"]

_ADDRESS: Final = {4: "pf-addr4", 6: "pf-addr6"}
_PORT: Final = {4: "pf-port4", 6: "pf-port6"}
_FIELD: Final[dict[int, KeyField]] = {4: "ipv4_addr", 6: "ipv6_addr"}


class ForwardMaps:
    """Always true: an external port is its lowest claimant's. The maps are in the table iff an endpoint has one."""

    def __init__(self, state: TableState) -> None:
        self._state = state
        self._claims: dict[bytes, dict[EndpointId, Forward]] = {}

    def __bool__(self) -> bool:
        return bool(self._claims)

    def change(self, before: EndpointUpdate | None, after: EndpointUpdate | None) -> bool:
        """An endpoint that is in force comes, changes or goes; whether the maps have come or gone. Cost O(change)."""
        was = bool(self)
        touched: dict[bytes, int] = {}
        for forward in before.forwards if before is not None else ():
            key = _key(forward)
            touched[key] = _version(forward)
            self._claims[key].pop(before.id, None)  # type: ignore[union-attr]
            if not self._claims[key]:
                del self._claims[key]
        for forward in after.forwards if after is not None else ():
            key = _key(forward)
            touched[key] = _version(forward)
            self._claims.setdefault(key, {})[after.id] = forward  # type: ignore[union-attr]
        if not was and self:
            for decl in _maps():
                self._state.want_set(decl)
        if self:
            for key, version in touched.items():
                self._write(key, version)
        elif was:
            for decl in _maps():
                self._state.unwant_set(decl.name)
        return was != bool(self)

    def _write(self, key: bytes, version: int) -> None:
        claims = self._claims.get(key)
        if not claims:
            for name in (_ADDRESS[version], _PORT[version]):
                self._state.unwant_element(name, key)
            return
        winner = claims[min(claims)]
        self._state.want_element(_ADDRESS[version], key, winner.own)
        self._state.want_element(_PORT[version], key, _port_bytes(winner.own_port))
        for name in (_ADDRESS[version], _PORT[version]):
            make_room(self._state, name)


def forwarded(version: Literal[4, 6]) -> Rule:
    """The rule that translates what comes for an external port. Registers: the key, then address and port."""
    words = 1 if version == 4 else 4
    own = words + 2
    loads = (Meta("l4proto", 0), address("dst", version == 6, 1), port("dst", words + 1))
    lookups = (Lookup(_ADDRESS[version], dst=own), Lookup(_PORT[version], dst=own + words))
    exprs = (*family(version), *loads, *lookups, Nat("dnat", version, own, own + words))
    return Rule(exprs, "external port to the workload's own")


def _key(forward: Forward) -> bytes:
    return bytes((forward.protocol, 0, 0, 0)) + forward.external + _port_bytes(forward.external_port)


def _port_bytes(number: int) -> bytes:
    return number.to_bytes(2, "big") + bytes(2)


def _version(forward: Forward) -> int:
    return 4 if len(forward.external) == 4 else 6


def _maps() -> Iterator[SetDecl]:
    for version, field in _FIELD.items():
        key: tuple[KeyField, ...] = ("inet_proto", field, "inet_service")
        yield SetDecl(_ADDRESS[version], key, field, size=MIN_SIZE)
        yield SetDecl(_PORT[version], key, "inet_service", size=MIN_SIZE)
