"""A plan as the text of bird.conf, in the dialect that BIRD 2.0.12 to 3.1 share. Pure and deterministic.

This module decides nothing: it refuses (InvalidInput) what the language cannot express, and every string passes
through ``quoted``, ``symbol``, ``prefix`` or ``address``. Filters stand before the protocols that use them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from calico.bgp.birdconf.admission import admission_function
from calico.bgp.birdconf.filters import GRACEFUL_SHUTDOWN, add_communities, filter_function
from calico.bgp.birdconf.peers import has_local_workloads, peer_protocol
from calico.bgp.birdconf.text import MAX_PREFERENCE, address, number, prefix, quoted
from calico.bgp.planning.birdplan import AdvertisedPrefix, BirdPlan, BlockPlan, Family, PoolPlan, ReachPlan
from calico.bgp.planning.filterplan import Direction

__all__ = ["KERNEL_PROTOCOLS", "render"]

KERNEL_PROTOCOLS = ("kernel4", "kernel6")
TUNNEL_PROTOCOL = 81
"""The protocol number of Felix's routes into tunnels (``dataplane.encap.tunnels``)."""
_FAMILIES: tuple[Family, ...] = (4, 6)
_DIRECTIONS: tuple[Direction, ...] = ("import", "export")
_F = TypeVar("_F", BlockPlan, PoolPlan, ReachPlan, AdvertisedPrefix)


def render(plan: BirdPlan, log_file: str) -> str:
    """The whole file. ``log_file`` is where BIRD logs; InvalidInput when something cannot be said."""
    parts = [_head(plan, log_file)]
    for family in _FAMILIES:
        parts += [_filters(plan, family), _own_filters(plan, family), _kernel(family)]
        parts += [_blocks(plan, family), *_reach(plan, family), *_services(plan, family)]
    if any(peer.bfd for peer in plan.peers):
        parts.append("protocol bfd bfd_all { }\n")
    parts += _presence(plan)
    parts += [
        admission_function(peer.name, peer.admission, family)
        for peer in plan.peers
        if peer.admission is not None
        for family in peer.families
    ]
    parts += [peer_protocol(plan, peer) for peer in plan.peers]
    return "\n".join(parts)


def _head(plan: BirdPlan, log_file: str) -> str:
    ignored = [f"-{quoted(pattern)}" for pattern in plan.ignored_interfaces]
    interfaces = ", ".join([*ignored, '-"cali*"', '-"tap*"', '-"kube-ipvs*"', '"*"'])
    debug = {"none": "off", "states": "{ states }", "all": "all"}[plan.debug]
    return f"""\
# Generated from the datastore; changes made here are lost.
log {quoted(log_file)} 8388608 {quoted(log_file + ".1")} {{ info, remote, warning, error, auth, fatal, bug, trace }};
timeformat base iso long ms;
timeformat protocol iso long ms;
timeformat route iso long ms;
timeformat log iso long ms;
router id {address(plan.router_id, 4)};
watchdog warning 5 s;
graceful restart wait 60;
debug protocols {debug};
protocol device device_all {{ scan time 10; }}
protocol direct direct_all {{ ipv4; ipv6; interface {interfaces}; }}
"""


def _filters(plan: BirdPlan, family: Family) -> str:
    normal = number(plan.normal_priority_v4 if family == 4 else plan.normal_priority_v6, 1, MAX_PREFERENCE - 1)
    return "\n".join(
        [
            *_from_kernel(family),
            *_to_kernel(plan, family, normal),
            *_from_peer(family, normal),
            *_to_peers(plan, family, normal),
            "",
        ]
    )


def _from_kernel(family: Family) -> list[str]:
    """A workload that lives here wins over a peer's word about it, or it could never be announced after a move. What
    Felix leads into tunnels is of this host only: other hosts have their own."""
    return [
        f"filter from_kernel{family} {{",
        '  if ifname ~ "cali*" || ifname ~ "tap*" then { preference = 150; accept; }',
        f"  if krt_source = {TUNNEL_PROTOCOL} then reject;",
        "  accept;",
        "}",
    ]


def _to_kernel(plan: BirdPlan, family: Family, normal: str) -> list[str]:
    refused = [
        f"  if net ~ {prefix(pool.cidr, family)} then reject;"
        for pool in plan.pools
        if pool.family == family and not pool.program
    ]
    services = [f"  if net ~ {prefix(item.cidr, family)} then reject;" for item in _of(plan.service_ranges, family)]
    encrypted = [
        f"  if defined(bgp_next_hop) then if bgp_next_hop = {address(hop, of)} then reject;"
        for of, hop in plan.encrypted_next_hops
        if of == family
    ]
    better = f"bgp_local_pref > {MAX_PREFERENCE} - {normal} && bgp_local_pref < {MAX_PREFERENCE}"
    return [
        f"filter to_kernel{family} {{",
        *services,
        f"  if source = RTS_STATIC then {{ krt_metric = {normal}; accept; }}",
        "  if source != RTS_BGP then reject;",
        *refused,
        *encrypted,
        f"  krt_metric = {normal};",
        f"  if defined(bgp_local_pref) then if {better} then krt_metric = {MAX_PREFERENCE} - bgp_local_pref;",
        "  accept;",
        "}",
    ]


def _from_peer(family: Family, normal: str) -> list[str]:
    """A route better than normal (a workload that is about to move in) beats even the local one; one whose speaker is
    about to go is the last to be taken (RFC 8326 4.1)."""
    return [
        f"function prefer{family}() {{",
        f"  if {GRACEFUL_SHUTDOWN} ~ bgp_community then bgp_local_pref = 0;",
        f"  if defined(bgp_local_pref) then if bgp_local_pref > {MAX_PREFERENCE} - {normal} then preference = 200;",
        "}",
        f"filter from_peer{family} {{ prefer{family}(); accept; }}",
    ]


def _to_peers(plan: BirdPlan, family: Family, normal: str) -> list[str]:
    """Withheld and unadvertised pools first, then this host's blocks as one route each, then every enabled pool."""
    pools = _of(plan.pools, family)
    never = [prefix(pool.cidr, family) for pool in pools if pool.advertise == "never"]
    never += [prefix(item.cidr, family) for item in _of(plan.withheld, family)]
    own = _own_next_hop(plan, family)
    call = f" own{family}();" if own else ""
    accept = f"{{ drained{family}(is_same_as); accept; }}" if plan.drained else "accept;"
    return [
        f"function rank{family}() {{",
        "  if source != RTS_BGP then {",
        f"    if ! defined(krt_metric) then krt_metric = {normal};",
        f"    if krt_metric = 0 || krt_metric >= {MAX_PREFERENCE} then krt_metric = {normal};",
        f"    bgp_local_pref = {MAX_PREFERENCE} - krt_metric;",
        "  }",
        "}",
        *own,
        *_drained(plan, family),
        f"function to_peers{family}(bool is_same_as) {{",
        *([f'  if proto = "reach{family}" then reject;'] if _of(plan.reach, family) else []),
        *[f"  if net ~ {cidr} then reject;" for cidr in sorted(set(never))],
        '  if is_same_as && (ifname ~ "*.cali" || ifname ~ "*.calico") then reject;',
        '  if ifname ~ "bpf*.cali" then reject;',
        *[add_communities(item.cidr, family, item.communities) for item in _of(plan.advertised, family)],
        *[line for block in _of(plan.blocks, family) for line in _block(block, normal, accept)],
        *([f'  if proto = "services{family}" then {accept}'] if _of(plan.services, family) else []),
        *[f"  if net ~ {prefix(item.cidr, family)} then {accept}" for item in _of(plan.reflected_services, family)],
        *[f"  if net ~ {prefix(pool.cidr, family)} then {accept}" for pool in pools if pool.advertise == "always"],
        *_workload_routes(plan, family, accept),
        "  reject;",
        "}",
        f"filter to_internal{family} {{ rank{family}();{call} to_peers{family}(true); }}",
        f"filter to_external{family} {{ rank{family}(); to_peers{family}(false); }}",
    ]


def _own_next_hop(plan: BirdPlan, family: Family) -> list[str]:
    """A local workload's routes are told to other hosts as reached through this one: they know the workload's address
    only by a route of ours, and BIRD does not resolve one learned next hop by another."""
    mine = dict(plan.own_addresses).get(family)
    if mine is None or not has_local_workloads(plan, family):
        return []
    return [
        f"function own{family}() {{",
        f'  if proto ~ "Local_Workload_*" then bgp_next_hop = {address(mine, family)};',
        "}",
    ]


def _drained(plan: BirdPlan, family: Family) -> list[str]:
    """What peers of a drained host are told (RFC 8326 4.2). What a reflector passes on leads elsewhere and stays."""
    if not plan.drained:
        return []
    return [
        f"function drained{family}(bool is_same_as) {{",
        f"  if ! is_same_as || source != RTS_BGP then bgp_community.add({GRACEFUL_SHUTDOWN});",
        "  if is_same_as && source != RTS_BGP then bgp_local_pref = 0;",
        "}",
    ]


def _own_filters(plan: BirdPlan, family: Family) -> str:
    """The BGPFilters that a session of this family names, as functions."""
    used = {name for peer in plan.peers if family in peer.families for name in peer.filters}
    lines = []
    for item in plan.filters:
        if item.name in used:
            for direction in _DIRECTIONS:
                lines += filter_function(item, direction, family, drained=plan.drained)
    return "\n".join([*lines, ""]) if lines else ""


def _block(block: BlockPlan, normal: str, accept: str) -> list[str]:
    """The block itself and routes better than normal pass; what is inside it and local does not."""
    cidr = prefix(block.cidr, block.family)
    return [
        f"  if net = {cidr} then {accept}",
        f"  if net ~ {cidr} && source != RTS_BGP then {{ if krt_metric < {normal} then {accept} reject; }}",
    ]


def _workload_routes(plan: BirdPlan, family: Family, accept: str) -> list[str]:
    host_length = 32 if family == 4 else 128
    lines = []
    if plan.export_workload_routes:
        local = f'source = RTS_INHERIT && net.len = {host_length} && (ifname ~ "cali*" || ifname ~ "tap*")'
        lines.append(f"  if {local} then {accept}")
    if plan.reflect_workload_routes:
        lines.append(f"  if source = RTS_BGP && net.len = {host_length} then {accept}")
    return lines


def _kernel(family: Family) -> str:
    return f"""\
protocol kernel kernel{family} {{
  learn; persist; scan time 2; netlink rx buffer 8388608; metric 0; graceful restart; merge paths on;
  ipv{family} {{ import filter from_kernel{family}; export filter to_kernel{family}; }};
}}
"""


def _blocks(plan: BirdPlan, family: Family) -> str:
    """One blackhole per block, so that unused addresses of it die here; a single address has nothing unused."""
    whole = 32 if family == 4 else 128
    routes = [prefix(block.cidr, family) for block in _of(plan.blocks, family)]
    lines = [f"  route {cidr} blackhole;" for cidr in routes if not cidr.endswith(f"/{whole}")]
    return _static(f"blocks{family}", family, lines)


def _reach(plan: BirdPlan, family: Family) -> list[str]:
    """Routes to far ends that are behind a gateway; for this host alone."""
    routes = [
        f"  route {address(item.address, family)}/{32 if family == 4 else 128} via {address(item.gateway, family)};"
        for item in _of(plan.reach, family)
    ]
    return [_static(f"reach{family}", family, routes)] if routes else []


def _services(plan: BirdPlan, family: Family) -> list[str]:
    """Prefixes of services; the kernel filter keeps these out of the kernel, where a service proxy is in charge."""
    routes = [f"  route {prefix(item.cidr, family)} blackhole;" for item in _of(plan.services, family)]
    return [_static(f"services{family}", family, routes)] if routes else []


def _presence(plan: BirdPlan) -> list[str]:
    """Router advertisements on links that have peers: routers of other makes (FRR's ``neighbor eth1 interface``) learn
    from them whom to call. They offer nothing: no default route (lifetime 0, RFC 4861 6.2.3), prefix or hop limit."""
    offer = "max ra interval 10; min ra interval 3; default lifetime 0; current hop limit 0; prefix ::/0 { skip; };"
    links = sorted({peer.interface for peer in plan.peers if peer.interface})
    lines = [f"  interface {quoted(link)} {{ {offer} }};" for link in links]
    return ["\n".join(["protocol radv radv_links {", *lines, "}", ""])] if lines else []


def _static(name: str, family: Family, routes: list[str]) -> str:
    return "\n".join([f"protocol static {name} {{", f"  ipv{family};", *routes, "}", ""])


def _of(items: Iterable[_F], family: Family) -> list[_F]:
    return [item for item in items if item.family == family]
