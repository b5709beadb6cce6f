"""Which flows a change of policy may have made forbidden, told without looking at any flow.

A flow is told by its ends as a packet filter saw its first packet. Only what can turn *allowed* into *denied* counts: a
member more in what rules allow concerns nobody. Cost is that of the change and of the endpoints whose policy it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, Literal, TypeAlias

from calico.lib.packed import is_host
from calico.rules.chains import PolicyChains
from calico.rules.dispatch import Dispatch
from calico.rules.host.dispatch import HostDispatch
from calico.rules.lists import Direction, ListChains
from calico.rules.policy import SetUse

__all__ = ["Affected", "AffectedFlows", "End", "Members"]

End: TypeAlias = Literal["source", "destination"]
_LIMITS_MAX: Final = 8
_OWN_END: Final[dict[Direction, End]] = {"egress": "source", "ingress": "destination"}
_OTHER_END: Final[dict[Direction, End]] = {"egress": "destination", "ingress": "source"}


class Members:
    """Members of sets (packed nets or address ports), asked for addresses: one look-up per prefix length."""

    def __init__(self, members: Iterable[bytes]) -> None:
        nets = [member if len(member) in (5, 17) else _host_of(member) for member in members]
        self.hosts = frozenset(net[:-1] for net in nets if is_host(net))
        wide = [net for net in nets if not is_host(net)]
        self._nets = frozenset(map(_bits, wide))
        self._lengths = frozenset((len(net) - 1, net[-1]) for net in wide)

    @property
    def is_exact(self) -> bool:
        """Whether all are single addresses."""
        return not self._lengths

    def __contains__(self, address: bytes) -> bool:
        if address in self.hosts:
            return True
        return any(size == len(address) and _bits(address + bytes((n,))) in self._nets for size, n in self._lengths)


class Affected:
    """Flows that a change may concern: by direction, local addresses, each with all its flows or only those that have
    an address among some members; and, wherever they go, all flows or those with such an address, for host endpoints,
    whose flows are not known by addresses. ``changed``: something decides otherwise, if only by allowing more."""

    def __init__(self) -> None:
        self.changed = False
        self._limits: dict[Direction, dict[bytes, tuple[Members, ...] | None]] = {"egress": {}, "ingress": {}}
        self._anywhere: tuple[Members, ...] | None = ()

    def __bool__(self) -> bool:
        return self._anywhere != () or any(self._limits.values())

    def add(self, direction: Direction, addresses: Iterable[bytes], members: Members | None = None) -> None:
        """Flows whose end in that direction is at one of the addresses, all or those of the members."""
        limits = self._limits[direction]
        for address in addresses:
            limits[address] = _with(limits.get(address, ()), members)

    def add_anywhere(self, members: Members | None = None) -> None:
        """Every flow, or every one that has an address among the members."""
        self._anywhere = _with(self._anywhere, members)

    def merge(self, other: Affected) -> None:
        """From now on also what the other concerns."""
        self.changed = self.changed or other.changed
        for each in (None,) if other._anywhere is None else other._anywhere:
            self.add_anywhere(each)
        for direction, limits in other._limits.items():
            for address, members in limits.items():
                for each in (None,) if members is None else members:
                    self.add(direction, (address,), each)

    def concerns(self, source: bytes, destination: bytes) -> bool:
        """Whether a flow between two addresses may be forbidden now."""
        if self._anywhere is None or any(source in each or destination in each for each in self._anywhere):
            return True
        return self._concerns("egress", source, destination) or self._concerns("ingress", destination, source)

    def touches(self, addresses: Iterable[bytes]) -> bool:
        """Whether one of the addresses is one of which flows may be forbidden, whatever their other end."""
        return self._anywhere != () or any(
            address in limits for address in addresses for limits in self._limits.values()
        )

    def lookups(self, most: int) -> set[tuple[End, bytes]] | None:
        """Where an address must stand in a flow for the flow to be concerned; None if that would be more than
        ``most``. It may name more flows than are concerned, never fewer."""
        found: set[tuple[End, bytes]] = set()
        if self._anywhere is None or not all(members.is_exact for members in self._anywhere):
            return None
        for members in self._anywhere:
            found |= {(end, address) for address in members.hosts for end in _OWN_END.values()}
        limited: dict[tuple[Direction, Members], set[bytes]] = {}
        for direction, limits in self._limits.items():
            for address, which in limits.items():
                if which is None:
                    found.add((_OWN_END[direction], address))
                for each in which or ():
                    limited.setdefault((direction, each), set()).add(address)
            if len(found) > most:
                return None
        for (direction, members), addresses in limited.items():
            found |= _fewest(direction, members, addresses)
            if len(found) > most:
                return None
        return found

    def _concerns(self, direction: Direction, own: bytes, other: bytes) -> bool:
        limits = self._limits[direction]
        if own not in limits:
            return False
        members = limits[own]
        return members is None or any(other in each or own in each for each in members)


class AffectedFlows:
    """Collects what changes until it is taken. It asks those who know who uses what."""

    def __init__(self, policies: PolicyChains, lists: ListChains, dispatch: Dispatch, hosts: HostDispatch) -> None:
        self._policies = policies
        self._lists = lists
        self._dispatch = dispatch
        self._hosts = hosts
        self._members: dict[str, tuple[set[bytes], set[bytes]]] = {}
        self._everything = True

    def on_members(self, set_id: str, added: Collection[bytes], removed: Collection[bytes]) -> None:
        """A set gained and lost members."""
        if added or removed:
            gained, lost = self._members.setdefault(set_id, (set(), set()))
            gained.update(added)
            lost.update(removed)

    def on_everything(self) -> None:
        """The ruleset may have been any other."""
        self._everything = True

    def take(self) -> Affected:
        """What changed since the last call; the first time, all flows of all endpoints."""
        affected = Affected()
        touched, changed = self._dispatch.take_touched(), self._policies.take_changed()
        if self._everything:
            self._everything = False
            touched = {name: {"ingress", "egress"} for name in self._dispatch.interfaces()}
            affected.changed = True
            if self._hosts.is_used:
                affected.add_anywhere()
        if self._hosts.take_touched():
            affected.changed = True
            affected.add_anywhere()
        for interface, directions in touched.items():
            for direction in directions:
                affected.add(direction, self._addresses(interface))
        for part in changed:
            self._add_users(affected, part, None)
        for set_id, (gained, lost) in self._members.items():
            self._add_members(affected, set_id, gained, lost)
        self._members = {}
        affected.changed = affected.changed or bool(touched)
        return affected

    def _add_members(self, affected: Affected, set_id: str, gained: set[bytes], lost: set[bytes]) -> None:
        made: dict[SetUse, Members | None] = {}
        for chain, use in self._policies.users_of(set_id).items():
            if use not in made:
                members = (gained if use.gains else set()) | (lost if use.loses else set())
                made[use] = Members(members) if members else None
            found = made[use]
            affected.changed = affected.changed or bool(self._lists.users_of(chain))
            if found is not None:
                self._add_users(affected, chain, found)

    def _add_users(self, affected: Affected, part: str, members: Members | None) -> None:
        for wanted in self._lists.users_of(part):
            affected.changed = True
            if wanted.kind != "workload":  # before translation a flow has other ends than those it is known by
                affected.add_anywhere(None if wanted.kind in ("untracked", "pre-dnat") else members)
            for interface in self._dispatch.interfaces_of(wanted):
                affected.add(wanted.direction, self._addresses(interface), members)

    def _addresses(self, interface: str) -> list[bytes]:
        endpoint = self._dispatch.shown(interface)
        return [net[:-1] for net in endpoint.nets if is_host(net)] if endpoint else []


def _with(limits: tuple[Members, ...] | None, members: Members | None) -> tuple[Members, ...] | None:
    """Limits and one more; None is no limit, which so many are as well."""
    if limits is None or members is None:
        return None
    if members in limits:
        return limits
    return (*limits, members) if len(limits) < _LIMITS_MAX else None


def _fewest(direction: Direction, members: Members, addresses: set[bytes]) -> set[tuple[End, bytes]]:
    """Look for the endpoints' addresses or for the members, whichever are fewer."""
    own = {(_OWN_END[direction], address) for address in addresses}
    if not members.is_exact:
        return own
    other = {(_OTHER_END[direction], address) for address in members.hosts}
    other |= {(_OWN_END[direction], address) for address in members.hosts & addresses}
    return min(own, other, key=len)


def _host_of(address_port: bytes) -> bytes:
    address = address_port[:-3]
    return address + bytes((len(address) * 8,))


def _bits(net: bytes) -> tuple[int, int, int]:
    """The first bits of a net's address, as many as its prefix is long, with the length and the family's."""
    size, length = len(net) - 1, net[-1]
    return size, length, int.from_bytes(net[:-1], "big") >> (size * 8 - length)
