"""Failsafe ports: what no policy of a host endpoint closes, so that a mistake never locks everybody out.

With them goes what IPv6 needs as IPv4 needs ARP: neighbour and router discovery and the reports of listeners, from
and to the link only. Without it no port over IPv6 would be reachable, failsafe or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from calico.lib.packed import is_v6
from calico.netlink.nftables.expr import Cmp, Meta, Payload, Range, Rule
from calico.netlink.nftables.objects import Chain, SetDecl
from calico.rules.config import FailsafePort, RulesConfig
from calico.rules.constants import ConstantSet, ConstantSets
from calico.rules.loads import ACCEPT, ICMPV6, Exprs, Side, family, header, in_set, net_is, port, protocol
from calico.rules.room import size_for
from calico.rules.table import TableState

__all__ = ["FAILSAFE_CHAINS", "FailsafeChains"]

FAILSAFE_CHAINS = {
    ("ingress", False): "failsafe-in",
    ("egress", False): "failsafe-out",
    ("ingress", True): "failsafe-raw-in",
    ("egress", True): "failsafe-raw-out",
}
"""By direction and whether connections are not known there, so that replies must be let through as well."""

_SETS = {"ingress": "fs-in", "egress": "fs-out"}
_OPPOSITE = {"ingress": "egress", "egress": "ingress"}
_DISCOVERY = ((133, 136), 255)
_LISTENERS = (((130, 132), 1), ((143, 143), 1))
"""ICMPv6 types, and the hop limit that says that they come from the link (RFC 4861 section 6.1, RFC 3810 section 5)."""


class FailsafeChains:
    """Always true: a failsafe chain and the sets that it looks into are in the table iff a policy list jumps to it."""

    def __init__(self, state: TableState, config: RulesConfig) -> None:
        self._state = state
        self._ports = {"ingress": config.failsafe_in, "egress": config.failsafe_out}
        self._constants = ConstantSets(state)
        self._users: Counter[str] = Counter()

    def acquire(self, direction: str, *, raw: bool) -> None:
        """One more list jumps to the chain."""
        name = FAILSAFE_CHAINS[direction, raw]
        self._users[name] += 1
        if self._users[name] == 1:
            sets: dict[str, ConstantSet] = {}
            rules = tuple(self._rules(direction, raw, sets))
            self._constants.use(name, sets.values())
            self._state.want_chain(Chain(name, rules))

    def release(self, direction: str, *, raw: bool) -> None:
        """One list less jumps to the chain."""
        name = FAILSAFE_CHAINS[direction, raw]
        self._users[name] -= 1
        if not self._users[name]:
            del self._users[name]
            self._state.unwant_chain(name)
            self._constants.use(name, ())

    def _rules(self, direction: str, raw: bool, sets: dict[str, ConstantSet]) -> Iterable[Rule]:
        peer: Side = "src" if direction == "ingress" else "dst"
        yield from self._open(direction, peer, "dst", "failsafe port", sets)
        if raw:
            yield from self._open(_OPPOSITE[direction], peer, "src", "reply of a failsafe port", sets)
        for (first, last), hop_limit in (_DISCOVERY, *_LISTENERS):
            kind = (Payload("transport", 0, 1), Range("eq", bytes((first,)), bytes((last,))))
            on_link = (Payload("network", 7, 1), Cmp("eq", bytes((hop_limit,))))
            yield Rule((*family(6), *protocol(ICMPV6), *on_link, *kind, ACCEPT), "neighbour discovery, MLD")

    def _open(
        self, direction: str, peer: Side, end: Side, comment: str, sets: dict[str, ConstantSet]
    ) -> Iterable[Rule]:
        """Accept what has a port of the direction's list at that end."""
        everywhere = [entry for entry in self._ports[direction] if entry.net is None]
        if everywhere:
            name = _SETS[direction]
            sets[name] = _port_set(name, everywhere)
            yield Rule((*in_set(name, Meta("l4proto"), port(end, 1)), ACCEPT), comment)
        for entry in self._ports[direction]:
            if entry.net is not None:
                yield Rule((*_from(peer, entry.net), *_at(end, entry), ACCEPT), comment)


def _port_set(name: str, ports: Iterable[FailsafePort]) -> ConstantSet:
    keys = {bytes((entry.protocol, 0, 0, 0)) + entry.port.to_bytes(2, "big") + b"\0\0" for entry in ports}
    decl = SetDecl(name, ("inet_proto", "inet_service"), size=size_for(len(keys)))
    return ConstantSet(decl, tuple(sorted(keys)))


def _from(peer: Side, net: bytes) -> Exprs:
    version = family(6 if is_v6(net) else 4)
    return (*version, *net_is(peer, net)) if net[-1] else version


def _at(end: Side, entry: FailsafePort) -> Exprs:
    number = entry.port.to_bytes(2, "big")
    return (*protocol(entry.protocol), *header(0 if end == "src" else 2, number))
