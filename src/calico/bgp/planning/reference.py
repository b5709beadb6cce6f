"""The executable specification of what leaves a host: a plan, a session and a route to what the peer is told of it.

Naive on purpose, and written without regard to BIRD's language: tests compare it with what a live BIRD exports.
"""

from __future__ import annotations

import fnmatch
import ipaddress
from typing import Literal

import msgspec

from calico.bgp.planning.birdplan import AdmissionPlan, BirdPlan, PeerPlan
from calico.bgp.planning.filterplan import OperationPlan, RulePlan

__all__ = ["Route", "admitted", "exported", "imported"]

MAX_PREFERENCE = 2147483647
_GRACEFUL_SHUTDOWN = (65535, 0)
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A route as BIRD holds it. ``metric`` is the kernel's.

    ``source``: the kernel, a connected network, a block of ours, a service prefix of ours, the way to a far end, or a
    peer.
    """

    net: str
    source: Literal["kernel", "connected", "block", "service", "reach", "peer"] = "kernel"
    interface: str = ""
    metric: int | None = None
    local_preference: int | None = None
    communities: frozenset[tuple[int, ...]] = frozenset()
    as_path: tuple[int, ...] = ()


def imported(plan: BirdPlan, peer: PeerPlan, route: Route) -> Route:
    """The preference of a route as a peer without import rules told it: the lowest where its speaker, or this host
    towards other systems, is about to go."""
    leaving = _GRACEFUL_SHUTDOWN in route.communities or (plan.drained and not peer.internal)
    return msgspec.structs.replace(route, local_preference=0) if leaving else route


def admitted(admission: AdmissionPlan, net: str) -> bool:
    """Whether a client may tell a route."""
    network = ipaddress.ip_network(net)
    if any(net == item.cidr for item in admission.refused):
        return False
    single = network.prefixlen == network.max_prefixlen
    return any(net == item.cidr or (single and _within(network, item.cidr)) for item in admission.networks)


def exported(plan: BirdPlan, peer: PeerPlan, route: Route) -> Route | None:
    """The route as the export filter leaves it, or None when it is kept from the peer.

    What BGP itself does afterwards (our AS on the path, local preference left out towards other ASes, split horizon,
    reflection) is not part of it.
    """
    network = ipaddress.ip_network(route.net)
    normal = plan.normal_priority_v4 if network.version == 4 else plan.normal_priority_v6
    metric = route.metric
    if route.source != "peer":
        metric = normal if not metric or metric >= MAX_PREFERENCE else metric
        route = msgspec.structs.replace(route, metric=metric, local_preference=MAX_PREFERENCE - metric)
    for name in peer.filters:
        rules = next(item for item in plan.filters if item.name == name).rules(
            "export", 4 if network.version == 4 else 6
        )
        rule = next((rule for rule in rules if _matches(rule, route, network, peer)), None)
        if rule is not None:
            return _drained(plan, peer, _changed(route, rule.operations)) if rule.accept else None
    accepted = _after_filters(plan, peer, route, network, normal)
    return None if accepted is None else _drained(plan, peer, accepted)


def _drained(plan: BirdPlan, peer: PeerPlan, route: Route) -> Route:
    """RFC 8326: other systems are told by a community, our own also by the lowest preference; what is passed on within
    our system leads elsewhere."""
    if not plan.drained or (peer.internal and route.source == "peer"):
        return route
    preference = 0 if peer.internal else route.local_preference
    communities = route.communities | {_GRACEFUL_SHUTDOWN}
    return msgspec.structs.replace(route, local_preference=preference, communities=communities)


def _after_filters(plan: BirdPlan, peer: PeerPlan, route: Route, network: Network, normal: int) -> Route | None:
    kept_inside = [pool.cidr for pool in plan.pools if pool.advertise == "never"]
    kept_inside += [item.cidr for item in plan.withheld]
    if route.source == "reach" or any(_within(network, cidr) for cidr in kept_inside):
        return None
    if peer.internal and any(fnmatch.fnmatchcase(route.interface, name) for name in ("*.cali", "*.calico")):
        return None
    if fnmatch.fnmatchcase(route.interface, "bpf*.cali"):
        return None
    for item in plan.advertised:
        if _within(network, item.cidr):
            route = msgspec.structs.replace(route, communities=route.communities | set(item.communities))
    for block in sorted(plan.blocks):
        if str(network) == block.cidr:
            return route
        if _within(network, block.cidr) and route.source != "peer":
            return route if route.metric is not None and route.metric < normal else None
    if route.source == "service" or any(_within(network, item.cidr) for item in plan.reflected_services):
        return route
    if any(pool.advertise == "always" and _within(network, pool.cidr) for pool in plan.pools):
        return route
    is_host = network.prefixlen == network.max_prefixlen
    is_workload = route.source == "kernel" and route.interface.startswith(("cali", "tap"))
    if plan.export_workload_routes and is_workload and is_host:
        return route
    return route if plan.reflect_workload_routes and route.source == "peer" and is_host else None


def _matches(rule: RulePlan, route: Route, network: Network, peer: PeerPlan) -> bool:
    if rule.network:
        low, high = rule.lengths
        inside = _within(network, rule.network) and low <= network.prefixlen <= high
        if rule.exact:
            inside = inside and str(network) == rule.network
        if inside == rule.outside:
            return False
    return (
        (not rule.from_peers or route.source == "peer")
        and (not rule.interface or fnmatch.fnmatchcase(route.interface, rule.interface))
        and rule.internal in (None, peer.internal)
        and (not rule.community or rule.community in route.communities)
        and route.as_path[: len(rule.as_path)] == rule.as_path
        and (rule.priority is None or route.local_preference == MAX_PREFERENCE - rule.priority)
    )


def _changed(route: Route, operations: tuple[OperationPlan, ...]) -> Route:
    for operation in operations:
        if operation.community:
            route = msgspec.structs.replace(route, communities=route.communities | {operation.community})
        elif operation.priority is not None:
            route = msgspec.structs.replace(route, local_preference=MAX_PREFERENCE - operation.priority)
        else:
            route = msgspec.structs.replace(route, as_path=operation.prepend + route.as_path)
    return route


def _within(network: Network, cidr: str) -> bool:
    outer = ipaddress.ip_network(cidr)
    return network.version == outer.version and network.subnet_of(outer)  # type: ignore[arg-type]
