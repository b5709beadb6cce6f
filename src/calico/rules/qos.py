"""Limits of endpoints: packet rate, connections, policed bandwidth, and the DSCP of what leaves Calico's networks.

Each limit lives in a chain of its endpoint's interface, because a token bucket and a count of connections are the
state of one expression in one rule: the chain is rewritten only when that limit changes. Three base chains dispatch by
interface, each only while an endpoint needs it:

* ``limits-forward``, before policy: rates, of all packets, those of known connections too;
* ``limits-connections``, after policy, the first packet of a connection only: the kernel counts it then, and notices
  some milliseconds later that a packet filter dropped it, so before policy anybody could use up the count;
* ``marking``, on the way out: one chain per DSCP, shared by the endpoints that have it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

from calico.calc.messages import IPAM_POOLS, QoS
from calico.netlink.nftables.expr import (
    Bitwise,
    ConnLimit,
    Limit,
    Lookup,
    Meta,
    Payload,
    PayloadSet,
    Reject,
    Rule,
    Verdict,
)
from calico.netlink.nftables.objects import Chain, Hook, SetDecl
from calico.rules.drops import drop, drop_with
from calico.rules.loads import ACCEPT, FIRST_PACKET, TCP, Exprs, address, family, in_set, protocol
from calico.rules.match import SetParts
from calico.rules.names import ifname_key, object_name
from calico.rules.room import MIN_SIZE, make_room
from calico.rules.table import TableState

__all__ = ["Limits"]

REFUSED: Final = "too-many-connections"
RATES, CONNECTIONS, MARKING = "limits-forward", "limits-connections", "marking"
_IPV4_CHECKSUM: Final = 10
_LARGEST_PACKET: Final = 65536
"""A segment before it is cut for the wire (GSO): a bucket that holds less would never let one pass."""

_MOST_BYTES: Final = (2**64 - 1) // 10**9
"""The kernel multiplies rate and burst by the nanoseconds of a second in 64 bits (net/netfilter/nft_limit.c). Any
bucket is smaller: the bounds of bursts see to that."""

_Key: TypeAlias = Literal["iifname", "oifname"]
_KINDS: Final[dict[str, tuple[str, _Key, str]]] = {
    "rates-from": (RATES, "iifname", "limits of packets from the workload"),
    "rates-to": (RATES, "oifname", "limits of packets to the workload"),
    "connections-from": (CONNECTIONS, "iifname", "limits of connections from the workload"),
    "connections-to": (CONNECTIONS, "oifname", "limits of connections to the workload"),
    "marks": (MARKING, "iifname", "DSCP of the workload"),
}
"""Verdict maps by interface name: the base chain that looks there, by which interface, and what for."""

_HOOKS: Final = {
    RATES: (Hook("forward", -10), ()),
    CONNECTIONS: (Hook("forward", 2), FIRST_PACKET),
    MARKING: (Hook("postrouting", -140), ()),
}


class Limits:
    """Always true: a map is in the table iff an interface is in it, a base chain iff a map of it is, and a chain of
    limits iff an interface has these limits."""

    def __init__(self, state: TableState, sets: SetParts) -> None:
        self._state = state
        self._sets = sets
        self._shown: dict[str, QoS] = {}
        self._marked: dict[int, set[str]] = {}
        self._policed = True

    def show(self, interface: str, qos: QoS | None) -> None:
        """The limits of the endpoint that owns an interface; None: it has none, or there is no such endpoint."""
        before = self._shown.pop(interface, None)
        if qos is not None:
            self._shown[interface] = qos
        if qos != before:
            self._write(interface, qos or QoS())
            self._mark(interface, before.dscp if before else None, qos.dscp if qos else None)

    def police(self, on: bool) -> None:
        """Whether bandwidth from workloads is limited here, because nothing else shapes it (at first it is)."""
        if on != self._policed:
            self._policed = on
            for interface, qos in self._shown.items():
                self._write(interface, qos)

    def refresh(self, set_id: str) -> None:
        """A set is made of other kernel sets than before."""
        if set_id == IPAM_POOLS:
            for dscp in self._marked:
                self._state.want_chain(_mark_chain(dscp, self._sets))

    def _write(self, interface: str, qos: QoS) -> None:
        policed = _bandwidth_rules(qos) if self._policed else ()
        for kind, rules in (
            ("rates-from", (*_packet_rules(qos.egress_packet_rate, qos.egress_packet_burst), *policed)),
            ("rates-to", tuple(_packet_rules(qos.ingress_packet_rate, qos.ingress_packet_burst))),
            ("connections-from", tuple(_connection_rules(qos.egress_max_connections))),
            ("connections-to", tuple(_connection_rules(qos.ingress_max_connections))),
        ):
            name = object_name(kind, interface)
            if rules:
                self._state.want_chain(Chain(name, rules))
                self._dispatch(kind, interface, Verdict("jump", name))
            else:
                self._dispatch(kind, interface, None)
                self._state.unwant_chain(name)

    def _mark(self, interface: str, before: int | None, after: int | None) -> None:
        if before is not None and before != after:
            self._marked[before].discard(interface)
            if not self._marked[before]:
                del self._marked[before]
                self._state.unwant_chain(_mark_name(before))
        if after is None:
            self._dispatch("marks", interface, None)
        elif before != after:
            if after not in self._marked:
                self._marked[after] = set()
                self._state.want_chain(_mark_chain(after, self._sets))
            self._marked[after].add(interface)
            self._dispatch("marks", interface, Verdict("goto", _mark_name(after)))

    def _dispatch(self, kind: str, interface: str, verdict: Verdict | None) -> None:
        """Put an interface into a map or take it out; map and base chain come and go with what is in them."""
        present, key = kind in self._state.sets, ifname_key(interface)
        if verdict is not None:
            if not present:
                self._state.want_set(SetDecl(kind, ("ifname",), "verdict", size=MIN_SIZE))
                self._base(_KINDS[kind][0])
            self._state.want_element(kind, key, verdict)
            make_room(self._state, kind)
        elif present:
            self._state.unwant_element(kind, key)
            if not self._state.elements(kind):
                self._state.unwant_set(kind)
                self._base(_KINDS[kind][0])

    def _base(self, name: str) -> None:
        hook, condition = _HOOKS[name]
        rules = tuple(
            Rule((*condition, Meta(by), Lookup(kind, verdict=True)), comment)
            for kind, (base, by, comment) in _KINDS.items()
            if base == name and kind in self._state.sets
        )
        used = (name, REFUSED) if name == CONNECTIONS else (name,)
        if not rules:
            for chain in used:
                self._state.unwant_chain(chain)
            return
        self._state.want_chain(Chain(name, rules, hook))
        if name == CONNECTIONS:
            reset = Rule((*protocol(TCP), *drop_with("connection-limit", Reject("tcp-reset"))), "refuse")
            self._state.want_chain(Chain(REFUSED, (reset, Rule(drop("connection-limit"), "refuse"))))


def _packet_rules(rate: int, burst: int) -> Iterable[Rule]:
    if rate:
        yield Rule((Limit(rate, 1, burst, over=True), *drop("packet-rate")), f"more than {rate} packets a second")


def _bandwidth_rules(qos: QoS) -> Iterable[Rule]:
    """What is above the rate, or above the peak rate, is dropped; nothing waits."""
    for what, rate, burst in (
        ("", qos.egress_bandwidth, qos.egress_burst // 8),
        ("peak ", qos.egress_peakrate, qos.egress_minburst),
    ):
        if rate // 8 and rate // 8 <= _MOST_BYTES:
            yield Rule((_byte_limit(rate // 8, burst), *drop("bandwidth")), f"more than the {what}rate of {rate} bit/s")


def _byte_limit(rate: int, burst: int) -> Limit:
    """The kernel's bucket of bytes holds a second's worth and the burst on top; declared is all of it."""
    bucket = max(burst, _LARGEST_PACKET)
    return Limit(rate, 1, max(bucket - rate, 0), "bytes", over=True)


def _connection_rules(most: int) -> Iterable[Rule]:
    if most:
        yield Rule((ConnLimit(most, over=True), Verdict("goto", REFUSED)), f"more than {most} connections")


def _mark_name(dscp: int) -> str:
    return object_name("dscp", str(dscp))


def _mark_chain(dscp: int, sets: SetParts) -> Chain:
    """Sets the six bits, not the two of congestion notification, on what goes outside the pools."""
    rules = [
        Rule((*family(version), *in_set(part, address("dst", version == 6)), ACCEPT), "stays in Calico's networks")
        for version in (4, 6)
        for part in sets.address_parts(IPAM_POOLS, version == 6)
    ]
    first = Payload("network", 0, 2)
    set_v4: Exprs = (first, Bitwise(b"\xff\x03", bytes((0, dscp << 2))), PayloadSet(0, 2, _IPV4_CHECKSUM))
    set_v6: Exprs = (first, Bitwise(b"\xf0\x3f", (dscp << 6).to_bytes(2, "big")), PayloadSet(0, 2))
    rules += [Rule((*family(4), *set_v4), f"DSCP {dscp}"), Rule((*family(6), *set_v6), f"DSCP {dscp}")]
    return Chain(_mark_name(dscp), tuple(rules))
