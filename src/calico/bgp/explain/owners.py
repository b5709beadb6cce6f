"""Whose a prefix is, by what the datastore holds: an endpoint's, a host's block, or nobody's in a pool. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

import msgspec

from calico.model.ippool import IPPool
from calico.model.workload import WorkloadEndpoint

__all__ = ["Owner", "owners_of"]


class Owner(msgspec.Struct, frozen=True):
    """The host that a prefix has to come from (empty: none), and how that is known."""

    host: str
    text: str


def owners_of(
    prefix: str,
    endpoints: Iterable[WorkloadEndpoint],
    blocks: Mapping[str, Iterable[str]],
    pools: Iterable[IPPool],
) -> tuple[Owner, ...]:
    """All that have a claim to it, the most exact first; never empty. ``blocks`` are CIDRs by host."""
    exact = [
        Owner(endpoint.spec.node, f"WorkloadEndpoint {_name(endpoint)} of {endpoint.spec.node} has it")
        for endpoint in endpoints
        if any(_covers(network, prefix) for network in endpoint.spec.ip_networks)
    ]
    if exact:
        return tuple(exact)
    wide = [
        Owner(host, f"no WorkloadEndpoint has it; {cidr} is a block of {host}")
        for host, cidrs in sorted(blocks.items())
        for cidr in cidrs
        if _covers(cidr, prefix)
    ]
    if wide:
        return tuple(wide)
    around = [pool.metadata.name for pool in pools if _covers(pool.spec.cidr, prefix)]
    if around:
        return (Owner("", f"no WorkloadEndpoint and no block of a host has it; it lies in IPPool {around[0]}"),)
    return (Owner("", "no WorkloadEndpoint, no block and no IPPool has it"),)


def _name(endpoint: WorkloadEndpoint) -> str:
    return f"{endpoint.metadata.namespace}/{endpoint.metadata.name}"


def _covers(outer: str, inner: str) -> bool:
    try:
        wide, narrow = ipaddress.ip_network(outer, strict=False), ipaddress.ip_network(inner)
    except ValueError:
        return False
    return wide.version == narrow.version and narrow.subnet_of(wide)  # type: ignore[arg-type]
