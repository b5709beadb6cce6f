"""Which host endpoint each of the host's own interfaces is (datamodel 15.4).

A host endpoint that names an interface has it, whether the interface is there yet or not; else the first by name that
expects one of the interface's addresses; else the first by name of those that name ``*``. Interfaces of workloads and
the loopback are never any.
"""

from __future__ import annotations

from typing import TypeVar

from calico.calc.messages import HostEndpointUpdate
from calico.rules.config import RulesConfig

__all__ = ["ANY", "HostClaims"]

ANY = "*"

K = TypeVar("K")


class HostClaims:
    """Host endpoints and interfaces, in whatever order they are told. A change costs what it may affect."""

    def __init__(self, config: RulesConfig) -> None:
        self._config = config
        self._endpoints: dict[str, HostEndpointUpdate] = {}
        self._addresses: dict[str, frozenset[bytes]] = {}
        self._named: dict[str, set[str]] = {}
        self._expecting: dict[bytes, set[str]] = {}
        self._having: dict[bytes, set[str]] = {}

    def put(self, endpoint: HostEndpointUpdate) -> set[str]:
        """Add or replace a host endpoint; the interfaces that may be another's, or differ, from now on."""
        affected = self.remove(endpoint.name)
        self._endpoints[endpoint.name] = endpoint
        if endpoint.interface:
            self._named.setdefault(endpoint.interface, set()).add(endpoint.name)
        else:
            for address in endpoint.expected_ips:
                self._expecting.setdefault(address, set()).add(endpoint.name)
        return affected | self._candidates(endpoint)

    def remove(self, name: str) -> set[str]:
        """Forget a host endpoint; the interfaces that may be another's from now on."""
        endpoint = self._endpoints.pop(name, None)
        if endpoint is None:
            return set()
        affected = self._candidates(endpoint)
        if endpoint.interface:
            _discard(self._named, endpoint.interface, name)
        else:
            for address in dict.fromkeys(endpoint.expected_ips):
                _discard(self._expecting, address, name)
        return affected

    def on_interface(self, interface: str, addresses: frozenset[bytes] | None) -> set[str]:
        """An interface is there with these addresses, or (None) gone; the interfaces that may be another's now."""
        before = self._addresses.pop(interface, frozenset())
        for address in before:
            _discard(self._having, address, interface)
        if addresses is not None:
            self._addresses[interface] = addresses
            for address in addresses:
                self._having.setdefault(address, set()).add(interface)
        return {interface}

    def owner(self, interface: str) -> HostEndpointUpdate | None:
        """The host endpoint that an interface is by its name or addresses."""
        if not self._config.is_hosts(interface):
            return None
        named = self._named.get(interface)
        if named:
            return self._endpoints[min(named)]
        expecting = [self._expecting[a] for a in self._addresses.get(interface, ()) if a in self._expecting]
        return self._endpoints[min(map(min, expecting))] if expecting else None

    def default(self) -> HostEndpointUpdate | None:
        """The host endpoint that all other interfaces are."""
        named = self._named.get(ANY)
        return self._endpoints[min(named)] if named else None

    def interfaces(self) -> dict[str, tuple[str, ...]]:
        """By host endpoint, the present interfaces that it is, in order. Visits every interface: for people."""
        found: dict[str, list[str]] = {name: [] for name in self._endpoints}
        default = self.default()
        for interface in sorted(filter(self._config.is_hosts, self._addresses)):
            owner = self.owner(interface) or default
            if owner is not None:
                found[owner.name].append(interface)
        return {name: tuple(interfaces) for name, interfaces in found.items()}

    def _candidates(self, endpoint: HostEndpointUpdate) -> set[str]:
        """The interfaces that the endpoint may have, but for those that it has as ``*``."""
        if endpoint.interface:
            return set() if endpoint.interface == ANY else {endpoint.interface}
        return {interface for address in endpoint.expected_ips for interface in self._having.get(address, ())}


def _discard(index: dict[K, set[str]], key: K, value: str) -> None:
    found = index.get(key, set())
    found.discard(value)
    if not found:
        index.pop(key, None)
