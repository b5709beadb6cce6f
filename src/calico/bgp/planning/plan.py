"""Datastore state and a host's name to that host's BIRD plan. Pure: the same snapshot always gives the same plan."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping
from contextlib import suppress
from typing import Literal

import msgspec

from calico.bgp.planning.admission import restrict_clients
from calico.bgp.planning.birdplan import BirdPlan, BlockPlan, Family, PoolPlan
from calico.bgp.planning.clusterconfig import ClusterConfig, resolve_config
from calico.bgp.planning.filterplan import FilterPlan
from calico.bgp.planning.host import BGPHost, host_of_node
from calico.bgp.planning.networks import Network, parse_network
from calico.bgp.planning.peerannotations import DRAIN
from calico.bgp.planning.peering import SessionPlanner
from calico.bgp.planning.peerspec import LocalWorkloads, Peering, peering_of_resource
from calico.bgp.planning.routefilter import filter_of_resource
from calico.bgp.planning.serviceroutes import needs_services, plan_services
from calico.bgp.planning.snapshot import BGPSnapshot
from calico.bgp.problem import Problem
from calico.errors import InvalidInput
from calico.model.bgp import BGPConfiguration
from calico.model.ippool import IPPool
from calico.model.keys import ResourceKey

__all__ = ["ExportMode", "Planned", "build_plan"]

ExportMode = Literal["pools", "interfaces"]
_NEVER = ("", "Never")


class Planned(msgspec.Struct, frozen=True):
    """A plan and all that is wrong. ``held``: keep what runs; the plan only serves where nothing runs yet.

    ``needs_endpoints``: it is complete only when the snapshot has this host's workload endpoints; ``needs_services``:
    only when it has what is said of services; ``needs_owners``: only when it has which addresses are whose.

    ``turn`` numbers this host among the nodes it has sessions with: what must not happen on both ends of a session
    at once goes by turns.
    """

    plan: BirdPlan
    problems: tuple[Problem, ...]
    held: bool = False
    turn: int = 0
    needs_endpoints: bool = False
    needs_services: bool = False
    needs_owners: bool = False


def build_plan(snapshot: BGPSnapshot, node: str, export_mode: ExportMode = "pools") -> Planned:
    """The plan for ``node``. Never raises: what cannot be honoured becomes a problem, and costs only what it governs.

    ``export_mode`` "interfaces" also advertises host routes on workload interfaces that no pool covers, as the
    classic OpenStack set-up does (design 1.6).
    """
    problems = list(snapshot.problems)
    basis = [ResourceKey("BGPConfiguration", "", "default"), ResourceKey("Node", "", node)]
    unreadable = [key for key in basis if key in snapshot.unreadable]
    for key in unreadable:
        problems.append(Problem("bgp-config-held", str(key), "it is unreadable; the running configuration is kept"))
    if unreadable:
        return Planned(_without_bgp(node), _sorted(problems), held=True)
    try:
        config = resolve_config(snapshot.configs, node, problems.append)
    except InvalidInput as error:
        message = f"{error}; the running configuration is kept"
        problems.append(Problem("bgp-config-held", "BGPConfiguration default", message))
        return Planned(_without_bgp(node), _sorted(problems), held=True)
    hosts = _hosts(snapshot, config, problems)
    me = hosts.get(node)
    if me is None:
        problems.append(_absence(snapshot, node))
        plan = msgspec.structs.replace(_without_bgp(node), debug=config.debug)
        return Planned(plan, _sorted(problems))
    if me.drained:
        message = f"metadata.annotations[{DRAIN}]: neighbours are asked to prefer other ways to what is here"
        problems.append(Problem("bgp-drained", f"Node {node}", message))
    filters = _filters(snapshot, problems)
    pools, blocks = _pools(snapshot.pools, config, problems), _networks(snapshot.blocks)
    peerings = _peerings(snapshot, filters, problems)
    planner = SessionPlanner(me, hosts, config, problems.append, snapshot.secrets, snapshot.endpoints)
    planner.explicit(peerings)
    planner.reverse(peerings)
    planner.mesh(peerings)
    default = snapshot.configs.get("default", BGPConfiguration())
    labels = snapshot.nodes[node].metadata.labels
    services = plan_services(default.spec, snapshot.services, problems.append, labels)
    peers = planner.sessions()
    restricted = config.own_routes_only and bool(me.cluster_id)
    if restricted:
        peers = restrict_clients(peers, hosts, snapshot.owned, services.ranges)
    plan = BirdPlan(
        router_id=me.ipv4 or _hashed_router_id(node),
        debug=config.debug,
        listen_port=config.port_of(node),
        strict_bind=config.strict_bind,
        ignored_interfaces=config.ignored_interfaces,
        peers=peers,
        pools=pools,
        blocks=blocks,
        advertised=config.advertised,
        filters=tuple(filters.values()),
        withheld=tuple(sorted({*_networks(config.withheld), *_doubtful(snapshot, pools, blocks)})),
        normal_priority_v4=config.normal_priority_v4,
        normal_priority_v6=config.normal_priority_v6,
        export_workload_routes=export_mode == "interfaces",
        reflect_workload_routes=export_mode == "interfaces" and bool(me.cluster_id),
        reach=planner.reach(),
        services=services.advertised,
        service_ranges=services.ranges,
        reflected_services=services.reflected if me.cluster_id else (),
        encrypted_next_hops=_encrypted(me, hosts),
        own_addresses=me.addresses,
        drained=me.drained,
    )
    local = any(isinstance(peering.remote, LocalWorkloads) and peering.is_asked_of(me) for peering in peerings)
    return Planned(
        plan,
        _sorted(problems),
        turn=_turn(me, hosts, plan),
        needs_endpoints=local,
        needs_services=needs_services(default.spec),
        needs_owners=restricted,
    )


def _turn(me: BGPHost, hosts: Mapping[str, BGPHost], plan: BirdPlan) -> int:
    """Reflectors go first: all others wait for them, and they are few."""
    far = {peer.address for peer in plan.peers}
    mine = (not me.cluster_id, me.name)
    before = (host for host in hosts.values() if (not host.cluster_id, host.name) < mine)
    return sum(not far.isdisjoint((host.ipv4, host.ipv6)) for host in before)


def _sorted(problems: list[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(set(problems)))


def _without_bgp(node: str) -> BirdPlan:
    return BirdPlan(router_id=_hashed_router_id(node))


def _hashed_router_id(node: str) -> str:
    """Four bytes of the name's SHA-256, kept below the multicast range (design 1.2)."""
    raw = bytearray(hashlib.sha256(node.encode("utf-8", "surrogatepass")).digest()[:4])
    if raw[0] > 223:
        raw[0] -= 32
    return str(ipaddress.IPv4Address(bytes(raw))) if any(raw) else "0.0.0.1"


def _absence(snapshot: BGPSnapshot, node: str) -> Problem:
    found = snapshot.nodes.get(node)
    if found is None:
        why = "the Node does not exist"
    elif found.spec.bgp is None:
        why = "spec.bgp is absent"
    else:
        why = "spec.bgp is unusable"
    return Problem("bgp-not-configured", f"Node {node}", f"{why}; this host has no BGP sessions")


def _hosts(snapshot: BGPSnapshot, config: ClusterConfig, problems: list[Problem]) -> dict[str, BGPHost]:
    hosts: dict[str, BGPHost] = {}
    owners: dict[str, str] = {}
    for name, node in sorted(snapshot.nodes.items()):
        host = host_of_node(node, default_as=config.as_number, listen_port=config.port_of(name), report=problems.append)
        if host is None:
            continue
        hosts[name] = host
        for _, address in host.addresses:
            if owners.setdefault(address, name) != name:
                message = f"{address} is also the address of Node {owners[address]}"
                problems.append(Problem("bgp-resource-invalid", f"Node {name}", message))
    return hosts


def _peerings(snapshot: BGPSnapshot, filters: Mapping[str, FilterPlan], problems: list[Problem]) -> list[Peering]:
    checked = (peering_of_resource(peer, problems.append) for _, peer in sorted(snapshot.peers.items()))
    return [_with_filters(peering, filters, problems) for peering in checked if peering is not None]


def _encrypted(me: BGPHost, hosts: Mapping[str, BGPHost]) -> tuple[tuple[Family, str], ...]:
    """The nodes that WireGuard leads to: Felix programs their routes, and one of ours would go in the clear."""
    return tuple(
        (family, address)
        for name, host in sorted(hosts.items())
        if name != me.name
        for family, address in host.addresses
        if family in host.encrypts & me.encrypts
    )


def _filters(snapshot: BGPSnapshot, problems: list[Problem]) -> dict[str, FilterPlan]:
    """The filters that can be honoured, by name."""
    usable = {}
    for name, resource in sorted(snapshot.filters.items()):
        try:
            usable[name] = filter_of_resource(resource)
        except InvalidInput as error:
            problems.append(
                Problem("bgp-resource-invalid", f"BGPFilter {name}", f"{error}; peerings with it are stopped")
            )
    return usable


def _with_filters(peering: Peering, filters: Mapping[str, FilterPlan], problems: list[Problem]) -> Peering:
    """The peering, stopped when it names a filter that is not there or not usable: it is never run without one."""
    missing = [name for name in peering.options.filters if name not in filters]
    if not missing or peering.stopped:
        return peering
    message = f"spec.filters: BGPFilter {', '.join(missing)} is absent or unusable; the peering is stopped"
    problems.append(Problem("bgp-resource-invalid", f"BGPPeer {peering.name}", message))
    return msgspec.structs.replace(peering, stopped=True)


def _pools(pools: Mapping[str, IPPool], config: ClusterConfig, problems: list[Problem]) -> tuple[PoolPlan, ...]:
    plans = []
    for name, pool in sorted(pools.items()):
        spec = pool.spec
        try:
            network = parse_network(spec.cidr)
        except InvalidInput as error:
            message = f"spec.cidr: {error.message}; its routes are not advertised"
            problems.append(Problem("bgp-resource-invalid", f"IPPool {name}", message))
            continue
        encapsulated = spec.vxlan_mode not in _NEVER or spec.ipip_mode not in _NEVER
        if spec.ipip_mode not in _NEVER and config.program_encap_pools_wanted:
            message = "its IPIP routes are left to Felix whatever programClusterRoutes says"
            problems.append(Problem("bgp-encap-not-programmed", f"IPPool {name}", message))
        plans.append(
            PoolPlan(
                family=6 if network.version == 6 else 4,
                cidr=str(network),
                advertise="never" if spec.disable_bgp_export else "by-block" if spec.disabled else "always",
                program=not encapsulated and config.program_plain_pools,
            )
        )
    return tuple(sorted(set(plans)))


def _doubtful(
    snapshot: BGPSnapshot, pools: tuple[PoolPlan, ...], blocks: tuple[BlockPlan, ...]
) -> tuple[BlockPlan, ...]:
    """Blocks that may belong to a pool that cannot be read, which may forbid to advertise them."""
    if not any(key.kind == "IPPool" for key in snapshot.unreadable):
        return ()
    known = [ipaddress.ip_network(pool.cidr) for pool in pools]
    return tuple(block for block in blocks if not any(_within(block, network) for network in known))


def _within(block: BlockPlan, network: Network) -> bool:
    inner = ipaddress.ip_network(block.cidr)
    return inner.version == network.version and inner.subnet_of(network)  # type: ignore[arg-type]


def _networks(cidrs: tuple[str, ...]) -> tuple[BlockPlan, ...]:
    found = set()
    for text in cidrs:
        with suppress(InvalidInput):
            network = parse_network(text)
            found.add(BlockPlan(6 if network.version == 6 else 4, str(network)))
    return tuple(sorted(found))
