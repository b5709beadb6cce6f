"""What the datastore says of this host's instances: their endpoints, and the subnets of the cloud.

An index, told of one change at a time; it says which interfaces a change concerns. Knows no sockets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from calico.orchestrators.openstack.records import EndpointRecord, SubnetRecord

__all__ = ["Known", "View"]

_NONE: Final[Mapping[str, SubnetRecord]] = {}


class Known(msgspec.Struct, frozen=True):
    """All that is needed to answer this host's instances: endpoints by key, and the subnets that these use, by id."""

    endpoints: dict[str, EndpointRecord] = {}
    subnets: dict[str, SubnetRecord] = {}


class View:
    """Always true: of endpoints that claim one interface the one with the lowest key has it, as in Felix."""

    def __init__(self) -> None:
        self._endpoints: dict[str, EndpointRecord] = {}
        self._subnets: dict[str, SubnetRecord] = {}
        self._of_network: dict[str, dict[str, SubnetRecord]] = {}
        self._claims: dict[str, set[str]] = {}
        self._on_network: dict[str, set[str]] = {}

    @classmethod
    def of(cls, known: Known) -> View:
        """A view that says what was known."""
        view = cls()
        for key, endpoint in known.endpoints.items():
            view.put_endpoint(key, endpoint)
        for name, subnet in known.subnets.items():
            view.put_subnet(name, subnet)
        return view

    @property
    def interfaces(self) -> Iterable[str]:
        """Those of all endpoints."""
        return self._claims.keys()

    @property
    def counts(self) -> tuple[int, int]:
        """Endpoints and subnets."""
        return len(self._endpoints), len(self._subnets)

    def put_endpoint(self, key: str, endpoint: EndpointRecord | None) -> set[str]:
        """Its endpoint is this now (None: there is none); the interfaces that this concerns."""
        concerned: set[str] = set()
        old = self._endpoints.pop(key, None)
        if old is not None:
            _drop(self._claims, old.interface, key)
            _drop(self._on_network, old.network_id, key)
            concerned.add(old.interface)
        if endpoint is not None:
            self._endpoints[key] = endpoint
            self._claims.setdefault(endpoint.interface, set()).add(key)
            self._on_network.setdefault(endpoint.network_id, set()).add(key)
            concerned.add(endpoint.interface)
        return concerned

    def put_subnet(self, name: str, subnet: SubnetRecord | None) -> set[str]:
        """The record of a subnet is this now; the interfaces on its network."""
        networks = set()
        old = self._subnets.pop(name, None)
        if old is not None:
            del self._of_network[old.network_id][name]
            if not self._of_network[old.network_id]:
                del self._of_network[old.network_id]
            networks.add(old.network_id)
        if subnet is not None:
            self._subnets[name] = subnet
            self._of_network.setdefault(subnet.network_id, {})[name] = subnet
            networks.add(subnet.network_id)
        keys = (key for network in networks for key in self._on_network.get(network, ()))
        return {self._endpoints[key].interface for key in keys}

    def port(self, interface: str) -> EndpointRecord | None:
        """Whose interface it is."""
        keys = self._claims.get(interface)
        return self._endpoints[min(keys)] if keys else None

    def subnets(self, port: EndpointRecord) -> Mapping[str, SubnetRecord]:
        """Those of the port's network, by id."""
        return self._of_network.get(port.network_id, _NONE)

    def known(self) -> Known:
        """What would have to be remembered to go on without the datastore; grows with this host, not with the cloud."""
        networks = [self._of_network.get(network, {}) for network in self._on_network]
        return Known(dict(self._endpoints), {name: record for found in networks for name, record in found.items()})


def _drop(index: dict[str, set[str]], name: str, key: str) -> None:
    index[name].discard(key)
    if not index[name]:
        del index[name]
