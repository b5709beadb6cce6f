"""What host endpoints add to the base chains, and the base chains that only they need (docs/design/packet-path.md).

A packet's interface is looked up in a verdict map of the place where it is; the list chain of ``*`` takes what no
other host endpoint has. All of it depends only on which maps there are and on the chains of ``*``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from calico.netlink.nftables.expr import Lookup, Meta, Rule, Verdict
from calico.netlink.nftables.objects import Chain, Hook
from calico.rules.config import LOOPBACK, RulesConfig
from calico.rules.ended import ENDED_FLOWS
from calico.rules.loads import (
    ACCEPT,
    ESTABLISHED_OR_RELATED,
    FROM_HERE,
    TRANSLATED,
    interface,
    interface_is,
    mark_clear,
    mark_is_set,
)

__all__ = [
    "FORWARD_FROM",
    "FORWARD_TO",
    "IN",
    "NO_HOST_PARTS",
    "OUT",
    "PRE_DNAT",
    "RAW_IN",
    "RAW_OUT",
    "TRANSLATED_OUT",
    "HostParts",
    "Places",
    "host_parts",
]

RAW_IN, RAW_OUT, PRE_DNAT = "hep-raw-in", "hep-raw-out", "hep-pre-dnat"
IN, OUT, TRANSLATED_OUT = "hep-in", "hep-out", "hep-translated"
FORWARD_FROM, FORWARD_TO = "hep-fwd-from", "hep-fwd-to"

_JUDGE_TRANSLATED = "host-translated"
_KNOWN = Rule((*ESTABLISHED_OR_RELATED, ACCEPT), "known connection")
_ENDED = Rule((Verdict("jump", ENDED_FLOWS),), "what would bring an ended flow back")

Places = Mapping[str, str | None]
"""The verdict maps that have something to decide, with the list chain of ``*`` there, if it has one."""


class HostParts(msgspec.Struct, frozen=True):
    """Rules to put at the end of base chains of the static part, and ``own`` chains (None: not in the table)."""

    raw_prerouting: tuple[Rule, ...] = ()
    from_interface: tuple[Rule, ...] = ()
    to_interface: tuple[Rule, ...] = ()
    input: tuple[Rule, ...] = ()
    output: tuple[Rule, ...] = ()
    own: tuple[tuple[str, Chain | None], ...] = ()


def host_parts(
    config: RulesConfig, places: Places, tunnels_in: tuple[Rule, ...] = (), tunnels_out: tuple[Rule, ...] = ()
) -> HostParts:
    """The parts for the maps that there are. What is of tunnels between hosts is let through before policy is asked."""
    builder = _Builder(config, places)
    own = (builder.raw_output(), builder.pre_dnat(), builder.postrouting(), builder.translated())
    names = ("raw-output", "pre-dnat", "host-postrouting", _JUDGE_TRANSLATED)
    return HostParts(
        raw_prerouting=builder.raw_prerouting(),
        from_interface=builder.forward(FORWARD_FROM, "iifname"),
        to_interface=builder.forward(FORWARD_TO, "oifname"),
        input=builder.input(tunnels_in),
        output=builder.output(tunnels_out),
        own=tuple(zip(names, own, strict=True)),
    )


class _Builder:
    def __init__(self, config: RulesConfig, places: Places) -> None:
        self._config = config
        self._places = places
        self._marks_in = RAW_IN in places or PRE_DNAT in places
        self._marks_out = RAW_OUT in places

    def raw_prerouting(self) -> tuple[Rule, ...]:
        """Packets of workloads have left the chain."""
        if not self._marks_in:
            return ()
        return (self._clear(), *self._dispatch(RAW_IN, "iifname"))

    def raw_output(self) -> Chain | None:
        if RAW_OUT not in self._places:
            return None
        return Chain("raw-output", (self._clear(), *self._dispatch(RAW_OUT, "oifname")), Hook("output", -300))

    def pre_dnat(self) -> Chain | None:
        if PRE_DNAT not in self._places:
            return None
        accepted = self._accepted() if RAW_IN in self._places else ()
        workloads = self._workloads("iifname", ACCEPT) if self._places[PRE_DNAT] else ()
        rules = (_KNOWN, *accepted, *workloads, *self._dispatch(PRE_DNAT, "iifname"))
        return Chain("pre-dnat", rules, Hook("prerouting", -150))

    def forward(self, place: str, key: Literal["iifname", "oifname"]) -> tuple[Rule, ...]:
        """After known connections and workloads. What was accepted before meets no more ingress policy."""
        if place not in self._places:
            return ()
        accepted = self._accepted() if place == FORWARD_FROM and self._marks_in else ()
        return (*accepted, *self._dispatch(place, key))

    def input(self, tunnels: tuple[Rule, ...]) -> tuple[Rule, ...]:
        if IN not in self._places:
            return ()
        accepted = self._accepted() if self._marks_in else ()
        return (_KNOWN, _ENDED, *accepted, *tunnels, *self._dispatch(IN, "iifname"))

    def output(self, tunnels: tuple[Rule, ...]) -> tuple[Rule, ...]:
        """A packet whose destination was translated may leave by another interface than this hook is told."""
        if OUT not in self._places:
            return ()
        accepted = self._accepted() if self._marks_out else ()
        later = Rule((*TRANSLATED, ACCEPT), "translated: judged where it leaves")
        return (_KNOWN, _ENDED, *accepted, later, *tunnels, *self._dispatch(OUT, "oifname"))

    def postrouting(self) -> Chain | None:
        """What this host sends: it came in by no interface; that of a tunnel did, but is from an address of ours."""
        if OUT not in self._places:
            return None
        judge = Verdict("goto", _JUDGE_TRANSLATED)
        rules = (
            _KNOWN,
            Rule((*TRANSLATED, *interface_is("iifname", ""), judge), "sent by this host, and translated"),
            Rule((*TRANSLATED, *FROM_HERE, judge), "from an address of this host, and translated"),
        )
        return Chain("host-postrouting", rules, Hook("postrouting", -150))

    def translated(self) -> Chain | None:
        if OUT not in self._places:
            return None
        place = TRANSLATED_OUT if TRANSLATED_OUT in self._places else OUT
        workloads = self._workloads("oifname", ACCEPT) if self._places[place] else ()
        return Chain(_JUDGE_TRANSLATED, (*workloads, *self._dispatch(place, "oifname")))

    def _dispatch(self, place: str, key: Literal["iifname", "oifname"]) -> tuple[Rule, ...]:
        if place not in self._places:
            return ()
        rules = [Rule((Meta(key), Lookup(place, verdict=True)), "policy of the host endpoint")]
        default = self._places[place]
        if default is not None:
            rules.append(Rule((*interface_is(key, LOOPBACK), ACCEPT), "loopback"))
            rules.append(Rule((Verdict("goto", default),), "policy of the host endpoint of all other interfaces"))
        return tuple(rules)

    def _workloads(self, key: Literal["iifname", "oifname"], verdict: Verdict) -> tuple[Rule, ...]:
        prefixes = self._config.interface_prefixes
        return tuple(Rule((*interface(key, prefix), verdict), "workload") for prefix in prefixes)

    def _clear(self) -> Rule:
        return Rule(mark_clear(self._config.accept_mark), "nothing was accepted yet")

    def _accepted(self) -> tuple[Rule, ...]:
        return (Rule((*mark_is_set(self._config.accept_mark), ACCEPT), "accepted before"),)


NO_HOST_PARTS = HostParts()
