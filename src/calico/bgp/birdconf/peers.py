"""One BGP session of a plan as a protocol of bird.conf. Pure."""

from __future__ import annotations

from calico.bgp.birdconf.admission import admission_name
from calico.bgp.birdconf.filters import filter_name
from calico.bgp.birdconf.text import address, number, quoted, symbol
from calico.bgp.planning.birdplan import BirdPlan, Family, PeerPlan
from calico.bgp.planning.filterplan import Direction
from calico.errors import InvalidInput

__all__ = ["has_local_workloads", "peer_protocol"]

HOLD_TIME_S = 90
LONG_LIVED_STALE_TIME_S = 3600


def peer_protocol(plan: BirdPlan, peer: PeerPlan) -> str:
    """The protocol. ``difference`` relies on its lines: channels begin with their family, all else is an option."""
    return "\n".join(
        [
            f"protocol bgp {symbol(peer.name)} {{",
            f"  {_local(plan, peer)}",
            *(f"  {line}" for line in _neighbor(peer)),
            *(f"  {line}" for line in _session(plan, peer)),
            *(f"  ipv{family} {{ {_channel(plan, peer, family)} }};" for family in peer.families),
            "}",
            "",
        ]
    )


def has_local_workloads(plan: BirdPlan, family: Family) -> bool:
    """Whether routes of a family can come from workloads of this host."""
    return any(peer.type == "LocalWorkload" and family in peer.families for peer in plan.peers)


def _local(plan: BirdPlan, peer: PeerPlan) -> str:
    source = f" {address(peer.source, peer.family)}" if peer.source is not None else ""
    return f"local{source}{_port(plan.listen_port)} as {_asnumber(peer.local_as)};"


def _neighbor(peer: PeerPlan) -> list[str]:
    end = "range fe80::/10" if peer.dynamic else address(peer.address, peer.family)
    return [
        f"neighbor {end}{_port(peer.port)} as {_asnumber(peer.remote_as)};",
        *([f"interface {quoted(peer.interface)};"] if peer.interface else []),
        *([f"dynamic name {quoted(symbol(peer.name) + '_')};"] if peer.dynamic else []),
    ]


def _port(port: int | None) -> str:
    return "" if port is None else f" port {number(port, 1, 65535)}"


def _asnumber(value: int) -> str:
    return number(value, 1, 0xFFFFFFFF)


def _session(plan: BirdPlan, peer: PeerPlan) -> list[str]:
    keepalive, restart = peer.keepalive_time_s, peer.restart_time_s
    hold = HOLD_TIME_S if keepalive is None else max(HOLD_TIME_S, 3 * keepalive)
    return [
        *_distance(peer),
        *(["passive;"] if peer.passive else []),
        *(["strict bind on;"] if plan.strict_bind and peer.source is not None else []),
        *(["free bind on;"] if peer.free_bind else []),
        *([f"password {_password(peer)};"] if peer.password is not None else []),
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
        *_bfd(peer),
    ]


def _password(peer: PeerPlan) -> str:
    """The only place where a password is written; what is wrong with one is said without it."""
    assert peer.password is not None
    try:
        return quoted(peer.password.reveal())
    except InvalidInput:
        raise InvalidInput("cannot be written in a BIRD configuration", subject=peer.name, field="password") from None


def _distance(peer: PeerPlan) -> list[str]:
    hops = peer.ttl_security_hops
    security = f"ttl security {'off' if hops is None else 'on'};"
    if peer.direct:
        return ["direct;", security]
    return ["multihop;" if hops is None else f"multihop {number(hops, 1, 255)};", security]


def _bfd(peer: PeerPlan) -> list[str]:
    if peer.bfd is None:
        return []
    interval, multiplier = number(peer.bfd.interval_ms, 10, 60_000), number(peer.bfd.multiplier, 2, 255)
    return [f"bfd {{ interval {interval} ms; multiplier {multiplier}; }};"]


def _reflection(peer: PeerPlan) -> list[str]:
    if peer.rr_cluster_id is None:
        return []
    return ["rr client;", f"rr cluster id {address(peer.rr_cluster_id, 4)};"]


def _channel(plan: BirdPlan, peer: PeerPlan, family: Family) -> str:
    options = [_import(plan, peer, family), _export(plan, peer, family), "add paths on;"]
    if peer.admission is not None:
        options.append("import table on;")  # judged anew without asking: a client that does not answer keeps nothing
    if peer.max_prefixes is not None:
        options.append(f"receive limit {number(peer.max_prefixes, 1, 0xFFFFFFFF)} action restart;")
    if family != peer.family:
        options.append("extended next hop on;")
    if not peer.interface:
        options.append("gateway recursive;")
    if peer.next_hop:
        options.append(f"next hop {peer.next_hop};")
    return " ".join(options)


def _import(plan: BirdPlan, peer: PeerPlan, family: Family) -> str:
    """What a filter rejects is kept aside, so that ``calico bgp why`` can tell; also where nothing is rejected, since
    BIRD 3 forgets to take kept routes in again when it is switched off.

    What is not a client's own is rejected before any BGPFilter can accept it.

    While drained, what other systems tell is the last to be taken, here and where it is told on (RFC 8326 4.2).
    """
    keep = "import keep filtered on;"
    least = plan.drained and not peer.internal
    if not peer.filters and not least and peer.admission is None:
        return f"import filter from_peer{family}; {keep}"
    calls = f"{_calls(peer, 'import', family)} bgp_local_pref = 0;" if least else _calls(peer, "import", family)
    if peer.admission is not None:
        calls = f"{admission_name(peer.name, family)}(); {calls}"
    return f"import filter {{ {calls.strip()} prefer{family}(); accept; }}; {keep}"


def _export(plan: BirdPlan, peer: PeerPlan, family: Family) -> str:
    has_own = peer.internal and has_local_workloads(plan, family) and any(of == family for of, _ in plan.own_addresses)
    if not peer.filters and not (has_own and peer.next_hop == "keep"):
        return f"export filter to_{'internal' if peer.internal else 'external'}{family};"
    own = f" own{family}();" if has_own and peer.next_hop != "keep" else ""
    after = f"to_peers{family}({'true' if peer.internal else 'false'});"
    return f"export filter {{ rank{family}();{own} {_calls(peer, 'export', family)} {after} }};"


def _calls(peer: PeerPlan, direction: Direction, family: Family) -> str:
    same = "true" if peer.internal else "false"
    return " ".join(f"{filter_name(name, direction, family)}({same});" for name in peer.filters)
