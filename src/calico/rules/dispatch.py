"""Endpoints as elements: two verdict maps, the set of known interfaces, the sources that each may use, and its floating
addresses."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from calico.calc.messages import EndpointId, EndpointUpdate
from calico.lib.packed import is_host, is_v6
from calico.netlink.nftables.expr import Verdict
from calico.rules.antispoof import SOURCES_V4, SOURCES_V6
from calico.rules.config import RulesConfig
from calico.rules.floating import FloatingMaps
from calico.rules.foreign_sources import ForeignSources
from calico.rules.forwards import ForwardMaps
from calico.rules.lists import Direction, ListChains, PolicyList, policy_list
from calico.rules.names import ifname_key
from calico.rules.nat import NatChains
from calico.rules.qos import Limits
from calico.rules.room import make_room
from calico.rules.static import FROM_MAP, INTERFACES, TO_MAP
from calico.rules.table import TableState

__all__ = ["Dispatch"]


class Dispatch:
    """Always true: an interface is dispatched iff it is a workload's by name and an endpoint claims it.

    Of several endpoints that claim one interface the one with the lowest id has it. An endpoint with any other
    interface is ignored, so that no endpoint can bring the host's own interfaces under its policy.
    """

    def __init__(
        self,
        state: TableState,
        config: RulesConfig,
        lists: ListChains,
        floating: FloatingMaps,
        forwards: ForwardMaps,
        nat: NatChains,
        limits: Limits,
    ) -> None:
        self._state = state
        self._config = config
        self._lists = lists
        self._floating = floating
        self._forwards = forwards
        self._nat = nat
        self._limits = limits
        self._foreign = ForeignSources(state)
        self._endpoints: dict[EndpointId, EndpointUpdate] = {}
        self._claims: dict[str, set[EndpointId]] = {}
        self._shown: dict[str, EndpointUpdate] = {}
        self._by_list: dict[PolicyList, set[str]] = {}
        self._touched: dict[str, set[Direction]] = {}

    def put(self, endpoint: EndpointUpdate) -> None:
        """Add or replace an endpoint."""
        before = self._endpoints.get(endpoint.id)
        if before is not None and before.interface != endpoint.interface:
            self.remove(endpoint.id)
        if self._config.is_workload(endpoint.interface):
            self._endpoints[endpoint.id] = endpoint
            self._claims.setdefault(endpoint.interface, set()).add(endpoint.id)
            self._settle(endpoint.interface)

    def remove(self, endpoint_id: EndpointId) -> None:
        """Remove an endpoint, if it is known."""
        endpoint = self._endpoints.pop(endpoint_id, None)
        if endpoint is not None:
            claims = self._claims[endpoint.interface]
            claims.discard(endpoint_id)
            if not claims:
                del self._claims[endpoint.interface]
            self._settle(endpoint.interface)

    def shown(self, interface: str) -> EndpointUpdate | None:
        """The endpoint that has an interface."""
        return self._shown.get(interface)

    def interfaces(self) -> Collection[str]:
        """Every interface that an endpoint has."""
        return self._shown.keys()

    def interfaces_of(self, wanted: PolicyList) -> Collection[str]:
        """The interfaces of the endpoints that have a list."""
        return self._by_list.get(wanted, ())

    def take_touched(self) -> dict[str, set[Direction]]:
        """Interfaces whose endpoint, addresses or list is another than when this was last asked, by direction."""
        touched, self._touched = self._touched, {}
        return touched

    def _settle(self, interface: str) -> None:
        claims = self._claims.get(interface)
        after = self._endpoints[min(claims)] if claims else None
        before = self._shown.pop(interface, None)
        if after is not None:
            self._shown[interface] = after
            for wanted in _lists(after):
                self._lists.acquire(wanted)
        if after != before:
            self._write(interface, before, after)
            self._limits.show(interface, after.qos if after else None)
            self._note(interface, before, after)
        if before is not None:
            for unwanted in _lists(before):
                self._lists.release(unwanted)

    def _note(self, interface: str, before: EndpointUpdate | None, after: EndpointUpdate | None) -> None:
        """Remember who has which list, and what may be another decision for the interface's packets."""
        old, new = (_lists(endpoint) if endpoint else () for endpoint in (before, after))
        for unwanted in set(old) - set(new):
            self._by_list[unwanted].discard(interface)
            if not self._by_list[unwanted]:
                del self._by_list[unwanted]
        for wanted in new:
            self._by_list.setdefault(wanted, set()).add(interface)
        if after is not None:
            is_new = before is None or not set(after.nets) <= set(before.nets)
            directions = {wanted.direction for wanted in new if is_new or wanted not in old}
            if directions:
                self._touched.setdefault(interface, set()).update(directions)

    def _write(self, interface: str, before: EndpointUpdate | None, after: EndpointUpdate | None) -> None:
        came_or_went = self._forwards.change(before, after)
        if self._floating.change(before, after) or came_or_went:
            self._nat.render()
        self._foreign.change(interface, before, after)
        key = ifname_key(interface)
        old = _sources(before) if before else set()
        new = _sources(after) if after else set()
        for name, source in old - new:
            self._state.unwant_element(name, key + source)
        for name, source in new - old:
            self._state.want_element(name, key + source)
            make_room(self._state, name)
        if after is None:
            for name in (FROM_MAP, TO_MAP, INTERFACES):
                self._state.unwant_element(name, key)
            return
        ingress, egress = _lists(after)
        # Not goto: what comes back undecided must meet the drop behind the map, not the policy of the base chain.
        self._state.want_element(FROM_MAP, key, Verdict("jump", egress.chain))
        self._state.want_element(TO_MAP, key, Verdict("jump", ingress.chain))
        self._state.want_element(INTERFACES, key)
        for name in (FROM_MAP, TO_MAP, INTERFACES):
            make_room(self._state, name)


def _lists(endpoint: EndpointUpdate) -> tuple[PolicyList, PolicyList]:
    return policy_list(endpoint, "ingress"), policy_list(endpoint, "egress")


def _sources(endpoint: EndpointUpdate) -> set[tuple[str, bytes]]:
    """The anti-spoofing set and address of each of an endpoint's addresses; a network is not an address."""
    hosts: Iterable[bytes] = filter(is_host, endpoint.nets)
    return {(SOURCES_V6 if is_v6(host) else SOURCES_V4, host[:-1]) for host in hosts}
