"""A plan as the text of bird.conf, in the dialect that BIRD 2.0.12 to 3.1 share. Pure and deterministic.

This module decides nothing: it refuses (InvalidInput) what the language cannot express, and every string passes
through ``quoted``, ``symbol``, ``prefix`` or ``address``. Filters stand before the protocols that use them.
"""

from __future__ import annotations

from calico.bgp.birdplan import BirdPlan, BlockPlan, Family, PeerPlan
from calico.bgp.birdtext import MAX_PREFERENCE, address, number, prefix, quoted, symbol
from calico.bgp.filterplan import Direction
from calico.bgp.renderfilter import add_communities, filter_function, filter_name

__all__ = ["render"]

HOLD_TIME_S = 90
LONG_LIVED_STALE_TIME_S = 3600
_FAMILIES: tuple[Family, ...] = (4, 6)


def render(plan: BirdPlan, log_file: str) -> str:
    """The whole file. ``log_file`` is where BIRD logs; InvalidInput when something cannot be said."""
    parts = [_head(plan, log_file)]
    for family in _FAMILIES:
        parts += [_filters(plan, family), _own_filters(plan, family), _kernel(family), _blocks(plan, family)]
    parts += [_peer(plan, peer) for peer in plan.peers]
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
    """A workload that lives here wins over a peer's word about it, or it could never be announced after a move."""
    return [
        f"filter from_kernel{family} {{",
        '  if ifname ~ "cali*" || ifname ~ "tap*" then preference = 150;',
        "  accept;",
        "}",
    ]


def _to_kernel(plan: BirdPlan, family: Family, normal: str) -> list[str]:
    refused = [
        f"  if net ~ {prefix(pool.cidr, family)} then reject;"
        for pool in plan.pools
        if pool.family == family and not pool.program
    ]
    better = f"bgp_local_pref > {MAX_PREFERENCE} - {normal} && bgp_local_pref < {MAX_PREFERENCE}"
    return [
        f"filter to_kernel{family} {{",
        f"  if source = RTS_STATIC then {{ krt_metric = {normal}; accept; }}",
        "  if source != RTS_BGP then reject;",
        *refused,
        f"  krt_metric = {normal};",
        f"  if defined(bgp_local_pref) then if {better} then krt_metric = {MAX_PREFERENCE} - bgp_local_pref;",
        "  accept;",
        "}",
    ]


def _from_peer(family: Family, normal: str) -> list[str]:
    """A route better than normal (a workload that is about to move in) beats even the local one."""
    return [
        f"function prefer{family}() {{",
        f"  if defined(bgp_local_pref) then if bgp_local_pref > {MAX_PREFERENCE} - {normal} then preference = 200;",
        "}",
        f"filter from_peer{family} {{ prefer{family}(); accept; }}",
    ]


def _to_peers(plan: BirdPlan, family: Family, normal: str) -> list[str]:
    """Withheld and unadvertised pools first, then this host's blocks as one route each, then every enabled pool."""
    pools = [pool for pool in plan.pools if pool.family == family]
    never = [prefix(pool.cidr, family) for pool in pools if pool.advertise == "never"]
    never += [prefix(item.cidr, family) for item in plan.withheld if item.family == family]
    return [
        f"function rank{family}() {{",
        "  if source != RTS_BGP then {",
        f"    if ! defined(krt_metric) then krt_metric = {normal};",
        f"    if krt_metric = 0 || krt_metric >= {MAX_PREFERENCE} then krt_metric = {normal};",
        f"    bgp_local_pref = {MAX_PREFERENCE} - krt_metric;",
        "  }",
        "}",
        f"function to_peers{family}(bool is_same_as) {{",
        *[f"  if net ~ {cidr} then reject;" for cidr in sorted(set(never))],
        '  if is_same_as && (ifname ~ "*.cali" || ifname ~ "*.calico") then reject;',
        '  if ifname ~ "bpf*.cali" then reject;',
        *[add_communities(item.cidr, family, item.communities) for item in plan.advertised if item.family == family],
        *[line for block in plan.blocks if block.family == family for line in _block(block, normal)],
        *[f"  if net ~ {prefix(pool.cidr, family)} then accept;" for pool in pools if pool.advertise == "always"],
        *_workload_routes(plan, family),
        "  reject;",
        "}",
        f"filter to_internal{family} {{ rank{family}(); to_peers{family}(true); }}",
        f"filter to_external{family} {{ rank{family}(); to_peers{family}(false); }}",
    ]


def _own_filters(plan: BirdPlan, family: Family) -> str:
    """The BGPFilters that a session of this family names, as functions."""
    used = {name for peer in plan.peers if peer.family == family for name in peer.filters}
    lines = []
    for item in plan.filters:
        if item.name in used:
            lines += filter_function(item, "import", family) + filter_function(item, "export", family)
    return "\n".join([*lines, ""]) if lines else ""


def _block(block: BlockPlan, normal: str) -> list[str]:
    """The block itself and routes better than normal pass; what is inside it and local does not."""
    cidr = prefix(block.cidr, block.family)
    return [
        f"  if net = {cidr} then accept;",
        f"  if net ~ {cidr} && source != RTS_BGP then {{ if krt_metric < {normal} then accept; reject; }}",
    ]


def _workload_routes(plan: BirdPlan, family: Family) -> list[str]:
    host_length = 32 if family == 4 else 128
    lines = []
    if plan.export_workload_routes:
        local = f'source = RTS_INHERIT && net.len = {host_length} && (ifname ~ "cali*" || ifname ~ "tap*")'
        lines.append(f"  if {local} then accept;")
    if plan.reflect_workload_routes:
        lines.append(f"  if source = RTS_BGP && net.len = {host_length} then accept;")
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
    routes = [prefix(block.cidr, family) for block in plan.blocks if block.family == family]
    lines = [f"  route {cidr} blackhole;" for cidr in routes if not cidr.endswith(f"/{whole}")]
    return "\n".join([f"protocol static blocks{family} {{", f"  ipv{family};", *lines, "}", ""])


def _peer(plan: BirdPlan, peer: PeerPlan) -> str:
    return "\n".join(
        [
            f"protocol bgp {symbol(peer.name)} {{",
            f"  {_local(plan, peer)}",
            f"  neighbor {address(peer.address, peer.family)}{_port(peer.port)} as {_asnumber(peer.remote_as)};",
            *(f"  {line}" for line in _session(plan, peer)),
            f"  ipv{peer.family} {{ {_channel(peer)} }};",
            "}",
            "",
        ]
    )


def _local(plan: BirdPlan, peer: PeerPlan) -> str:
    source = f" {address(peer.source, peer.family)}" if peer.source is not None else ""
    return f"local{source}{_port(plan.listen_port)} as {_asnumber(peer.local_as)};"


def _port(port: int | None) -> str:
    return "" if port is None else f" port {number(port, 1, 65535)}"


def _asnumber(value: int) -> str:
    return number(value, 1, 0xFFFFFFFF)


def _session(plan: BirdPlan, peer: PeerPlan) -> list[str]:
    keepalive, restart, hops = peer.keepalive_time_s, peer.restart_time_s, peer.ttl_security_hops
    hold = HOLD_TIME_S if keepalive is None else max(HOLD_TIME_S, 3 * keepalive)
    return [
        *(["multihop;", "ttl security off;"] if hops is None else _ttl_security(hops)),
        *(["passive;"] if peer.passive else []),
        *(["strict bind on;"] if plan.strict_bind and peer.source is not None else []),
        f"hold time {number(hold, 3, 65535)};",
        *([f"keepalive time {number(keepalive, 1, 65535)};"] if keepalive is not None else []),
        "connect delay time 1;",
        "connect retry time 2;",
        "error wait time 1, 30;",
        "graceful restart on;",
        *([f"graceful restart time {number(restart, 0, 4095)};"] if restart is not None else []),
        "long lived graceful restart on;",
        f"long lived stale time {LONG_LIVED_STALE_TIME_S};",
        *_reflection(peer),
        *([f"allow local as {number(peer.allowed_local_as, 0, 2**31 - 1)};"] if peer.allowed_local_as else []),
    ]


def _ttl_security(hops: int) -> list[str]:
    return [f"multihop {number(hops, 1, 255)};", "ttl security on;"]


def _reflection(peer: PeerPlan) -> list[str]:
    if peer.rr_cluster_id is None:
        return []
    return ["rr client;", f"rr cluster id {address(peer.rr_cluster_id, 4)};"]


def _import(peer: PeerPlan) -> str:
    if not peer.filters:
        return f"import filter from_peer{peer.family};"
    return f"import filter {{ {_calls(peer, 'import')} prefer{peer.family}(); accept; }};"


def _export(peer: PeerPlan) -> str:
    if not peer.filters:
        return f"export filter to_{'internal' if peer.internal else 'external'}{peer.family};"
    after = f"to_peers{peer.family}({'true' if peer.internal else 'false'});"
    return f"export filter {{ rank{peer.family}(); {_calls(peer, 'export')} {after} }};"


def _calls(peer: PeerPlan, direction: Direction) -> str:
    same = "true" if peer.internal else "false"
    return " ".join(f"{filter_name(name, direction, peer.family)}({same});" for name in peer.filters)


def _channel(peer: PeerPlan) -> str:
    options = [_import(peer), _export(peer), "add paths on;"]
    options.append("gateway recursive;")
    if peer.next_hop:
        options.append(f"next hop {peer.next_hop};")
    return " ".join(options)
