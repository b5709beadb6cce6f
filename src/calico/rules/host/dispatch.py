"""Host endpoints as elements: at each place where their policy decides a verdict map from interfaces to list chains."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from calico.calc.messages import HostEndpointUpdate
from calico.netlink.nftables.expr import Rule, Verdict
from calico.netlink.nftables.objects import SetDecl
from calico.rules.config import RulesConfig
from calico.rules.host import chains as places
from calico.rules.host.claims import HostClaims
from calico.rules.lists import Direction, ListChains, ListKind, PolicyList, TierList, tier_lists
from calico.rules.loads import ACCEPT
from calico.rules.names import ifname_key
from calico.rules.room import make_room
from calico.rules.static import write_base
from calico.rules.table import TableState

__all__ = ["HostDispatch"]


class _Place(msgspec.Struct, frozen=True):
    """Where on a packet's way: the map, the lists that it leads to, and whether ``*`` has one there."""

    map: str
    kind: ListKind
    direction: Direction
    has_default: bool = True


_INTERFACES_SIZE = 1024
"""So large that these maps are hardly ever made anew: a packet that had begun before would miss its interface."""

_PLACES = (
    _Place(places.RAW_IN, "untracked", "ingress", has_default=False),
    _Place(places.RAW_OUT, "untracked", "egress", has_default=False),
    _Place(places.PRE_DNAT, "pre-dnat", "ingress"),
    _Place(places.IN, "host", "ingress"),
    _Place(places.OUT, "host", "egress"),
    _Place(places.FORWARD_FROM, "forward", "ingress"),
    _Place(places.FORWARD_TO, "forward", "egress"),
)
_TRANSLATED = _Place(places.TRANSLATED_OUT, "translated", "egress")
"""Only where a denial is answered: after routing it cannot be, so the lists differ. Else they are those of OUT."""


class HostDispatch:
    """Always true: at each place the map has every interface that a host endpoint has by its name or addresses, and
    the rest goes to the list of ``*``; a map that leads to no list is not in the table, nor is what only it needs."""

    def __init__(self, state: TableState, config: RulesConfig, lists: ListChains) -> None:
        self._state = state
        self._config = config
        self._claims = HostClaims(config)
        chosen = _PLACES if config.deny == "drop" else (*_PLACES, _TRANSLATED)
        self._maps = [_PlaceMap(state, lists, place) for place in chosen]
        self._shown: dict[str, HostEndpointUpdate] = {}
        self._default: HostEndpointUpdate | None = None
        self._places: dict[str, str | None] = {}
        self._touched = False
        self._tunnels: tuple[tuple[Rule, ...], tuple[Rule, ...]] = ((), ())

    @property
    def is_used(self) -> bool:
        """Whether a host endpoint governs anything."""
        return bool(self._places)

    def take_touched(self) -> bool:
        """Whether an interface is another host endpoint, or one with other lists, than when this was last asked."""
        touched, self._touched = self._touched, False
        return touched

    def put(self, endpoint: HostEndpointUpdate) -> None:
        """Add or replace a host endpoint."""
        self._settle(self._claims.put(endpoint))

    def remove(self, name: str) -> None:
        """Remove a host endpoint, if it is known."""
        self._settle(self._claims.remove(name))

    def on_interface(self, interface: str, addresses: frozenset[bytes] | None) -> None:
        """One of the host's interfaces is there with these addresses, or (None) gone."""
        self._settle(self._claims.on_interface(interface, addresses))

    def interfaces(self) -> dict[str, tuple[str, ...]]:
        """By host endpoint, the present interfaces that it is."""
        return self._claims.interfaces()

    def on_tunnels(self, inward: tuple[Rule, ...], outward: tuple[Rule, ...]) -> None:
        """What of tunnels between hosts is let through whatever policies say."""
        if (inward, outward) != self._tunnels:
            self._tunnels = (inward, outward)
            if self._places:
                self._write()

    def _settle(self, interfaces: set[str]) -> None:
        for interface in interfaces:
            after, before = self._claims.owner(interface), self._shown.pop(interface, None)
            if after is not None:
                self._shown[interface] = after
            if after != before:
                self._touched = True
                for place in self._maps:
                    place.put(interface, after)
        default = self._claims.default()
        if default != self._default:
            self._touched = True
            self._default = default
            for place in self._maps:
                place.put_default(default)
        found = {place.map: place.default_chain for place in self._maps if place.is_used}
        if found != self._places:
            self._places = found
            self._write()

    def _write(self) -> None:
        write_base(self._state, self._config, places.host_parts(self._config, self._places, *self._tunnels))


class _PlaceMap:
    """The verdict map of one place: in the table while it or the default leads to a list."""

    def __init__(self, state: TableState, lists: ListChains, place: _Place) -> None:
        self.map = place.map
        self._state = state
        self._lists = lists
        self._place = place
        self._interfaces: dict[str, PolicyList | None] = {}
        self._default: PolicyList | None = None
        self._used = 0

    @property
    def is_used(self) -> bool:
        return self._used > 0

    @property
    def default_chain(self) -> str | None:
        """The list chain of ``*``."""
        return self._default.chain if self._default else None

    def put(self, interface: str, owner: HostEndpointUpdate | None) -> None:
        """An interface is a host endpoint by its name or addresses, or (None) is not."""
        before = self._interfaces.pop(interface, None)
        after = _list(self._place, owner) if owner else None
        if owner is not None:
            self._interfaces[interface] = after
        self._replace(before, after, lambda: self._show(interface))

    def put_default(self, owner: HostEndpointUpdate | None) -> None:
        """``*`` is this host endpoint, or (None) there is none."""
        if self._place.has_default:
            before, self._default = self._default, _list(self._place, owner) if owner else None
            self._replace(before, self._default, lambda: None)

    def _replace(self, before: PolicyList | None, after: PolicyList | None, show: Callable[[], None]) -> None:
        if after is not None:
            self._lists.acquire(after)
        was_used = self.is_used
        self._used += (after is not None) - (before is not None)
        if not self.is_used:
            self._state.unwant_set(self.map)
        elif was_used:
            show()
        else:
            self._state.want_set(SetDecl(self.map, ("ifname",), "verdict", size=_INTERFACES_SIZE))
            for interface in self._interfaces:
                self._show(interface)
        if before is not None:
            self._lists.release(before)

    def _show(self, interface: str) -> None:
        """An interface without a list here goes on, and not to the list of ``*``."""
        key = ifname_key(interface)
        found = self._interfaces.get(interface)
        if found is not None:
            self._state.want_element(self.map, key, Verdict("goto", found.chain))
        elif interface in self._interfaces and self._place.has_default:
            self._state.want_element(self.map, key, ACCEPT)
        else:
            self._state.unwant_element(self.map, key)
        make_room(self._state, self.map)


def _list(place: _Place, endpoint: HostEndpointUpdate) -> PolicyList | None:
    """What decides about a host endpoint there; None when nothing does. Packets to and from the host always meet a
    list, which denies what no policy and no profile allows."""
    direction = place.direction
    match place.kind:
        case "host" | "translated":
            return PolicyList(direction, tier_lists(endpoint.tiers, direction), endpoint.profiles, place.kind)
        case "forward":
            tiers = tier_lists(endpoint.forward_tiers, direction)
        case "pre-dnat":
            tiers = _undecided(tier_lists(endpoint.pre_dnat_tiers, direction))
        case _:
            tiers = _undecided(tier_lists(endpoint.untracked_tiers, direction))
    return PolicyList(direction, tiers, kind=place.kind) if tiers else None


def _undecided(tiers: tuple[TierList, ...]) -> tuple[TierList, ...]:
    """Tiers that decide nothing at their end."""
    return tuple(msgspec.structs.replace(tier, default_action="pass") for tier in tiers)
