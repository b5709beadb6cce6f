"""Workload endpoints of one host as far ends of BGP sessions. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

import msgspec

from calico.bgp.planning.birdplan import Family
from calico.bgp.planning.host import check_peer_address
from calico.bgp.planning.networks import is_single, parse_network
from calico.errors import InvalidInput
from calico.model.keys import ResourceKey, kind_prefix, parse_key
from calico.model.names import parse_workload_endpoint_name
from calico.model.selector import Selector
from calico.model.workload import WorkloadEndpoint

__all__ = ["ENDPOINTS_PREFIX", "LocalEndpoint", "is_local_key", "local_endpoint", "selected"]

ENDPOINTS_PREFIX = kind_prefix("WorkloadEndpoint")


class LocalEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A workload's interface on this host: labels, and the single addresses it owns."""

    labels: Mapping[str, str]
    addresses: tuple[tuple[Family, str], ...]


def is_local_key(path: str, host: str) -> bool:
    """Whether a key of the datastore is that of a WorkloadEndpoint of the host: its name begins with the host's."""
    key = parse_key(path)
    if key is None or key.kind != "WorkloadEndpoint":
        return False
    try:
        return parse_workload_endpoint_name(key.name).node == host
    except InvalidInput:
        return False


def local_endpoint(endpoint: WorkloadEndpoint, host: str) -> LocalEndpoint | None:
    """What of an endpoint counts for sessions; None when it says that it is elsewhere."""
    if endpoint.spec.node != host:
        return None
    return LocalEndpoint(
        labels=endpoint.metadata.labels, addresses=tuple(dict.fromkeys(_addresses(endpoint.spec.ip_networks)))
    )


def selected(endpoints: Mapping[ResourceKey, LocalEndpoint], selector: Selector) -> Iterator[tuple[Family, str]]:
    """The addresses of the endpoints that a selector picks, in the order of their names."""
    for _, endpoint in sorted(endpoints.items()):
        if selector.matches(endpoint.labels):
            yield from endpoint.addresses


def _addresses(networks: Iterable[str]) -> Iterator[tuple[Family, str]]:
    for text in networks:
        with suppress(InvalidInput):
            network = parse_network(text)
            if is_single(network):
                yield (6 if network.version == 6 else 4), check_peer_address(str(network.network_address), "")
