"""The part of the ruleset that no datastore decides: base chains, and what every workload may never or always do.
Host endpoints add rules at the end of base chains, and base chains of their own; nothing else changes.

By itself it is the boot guard: with no endpoint in the dispatch maps nothing passes to or from an interface that
could be a workload's. Verdict ``accept`` ends one base chain only, so a packet must be accepted by all of them:
``from-workload`` (egress policy) and then ``to-workload`` (ingress policy); on the way to this host ``input-policy``
and then ``input-action``, which share the dispatch map and the chains with forwarding.
"""

from __future__ import annotations

from collections.abc import Iterable

from calico.netlink.nftables.expr import Lookup, Meta, Rule, Verdict
from calico.netlink.nftables.objects import Chain, Hook, KeyField, SetDecl
from calico.rules.antispoof import FOREIGN_SOURCES, SOURCES_V4, SOURCES_V6, antispoof_chains
from calico.rules.config import RulesConfig
from calico.rules.drops import drop, write_counters
from calico.rules.ended import ENDED_FLOWS, ended_chain, ended_sets
from calico.rules.guards import HOST_SERVICES, WORKLOAD_GUARD, guard_chains
from calico.rules.host.chains import NO_HOST_PARTS, HostParts
from calico.rules.layout import layout_chain
from calico.rules.loads import ACCEPT, ESTABLISHED_OR_RELATED, Exprs, in_set, interface
from calico.rules.room import MIN_SIZE
from calico.rules.table import TableState

__all__ = ["FROM_MAP", "INTERFACES", "TO_MAP", "WORKLOAD_GUARD", "write_base", "write_static"]

FROM_MAP, TO_MAP, INTERFACES = "wl-from", "wl-to", "wl-interfaces"
_ENDPOINTS_SIZE = 4096


def write_static(state: TableState, config: RulesConfig) -> None:
    """Declare the static chains, and the maps and sets that endpoints become elements of."""
    write_counters(state)
    for decl in _sets():
        state.want_set(decl)
    for chain in guard_chains(config):
        state.want_chain(chain)
    state.want_chain(layout_chain())
    write_base(state, config, NO_HOST_PARTS)


def write_base(state: TableState, config: RulesConfig, host: HostParts) -> None:
    """The base chains and what they lead to, with what host endpoints add."""
    chains: list[Chain] = []
    chains += antispoof_chains(config, host.raw_prerouting)
    chains.append(ended_chain())
    chains += _forward(config, host)
    chains += _input(config, host)
    chains += _output(config, host)
    for chain in chains:
        state.want_chain(chain)
    for name, own in host.own:
        if own is None:
            state.unwant_chain(name)
        else:
            state.want_chain(own)


def _sets() -> Iterable[SetDecl]:
    ifname: tuple[KeyField, ...] = ("ifname",)
    yield SetDecl(FROM_MAP, ifname, "verdict", size=_ENDPOINTS_SIZE)
    yield SetDecl(TO_MAP, ifname, "verdict", size=_ENDPOINTS_SIZE)
    yield SetDecl(INTERFACES, ifname, size=_ENDPOINTS_SIZE)
    yield SetDecl(FOREIGN_SOURCES, ifname, "verdict", size=MIN_SIZE)
    yield from ended_sets()
    yield SetDecl(SOURCES_V4, ("ifname", "ipv4_addr"), size=_ENDPOINTS_SIZE)
    yield SetDecl(SOURCES_V6, ("ifname", "ipv6_addr"), size=_ENDPOINTS_SIZE)


def _forward(config: RulesConfig, host: HostParts) -> Iterable[Chain]:
    yield Chain(
        "from-workload",
        (
            _established(),
            _ended(),
            Rule((Meta("iifname"), Lookup(FROM_MAP, verdict=True)), "egress policy of the workload"),
            *_for_prefixes(config, "iifname", drop("unknown-interface"), "unknown workload interface"),
            *host.from_interface,
        ),
        Hook("forward", 0),
    )
    yield Chain(
        "to-workload",
        (
            _established(),
            Rule((Meta("oifname"), Lookup(TO_MAP, verdict=True)), "ingress policy of the workload"),
            *_for_prefixes(config, "oifname", drop("unknown-interface"), "unknown workload interface"),
            *host.to_interface,
        ),
        Hook("forward", 1),
    )


def _input(config: RulesConfig, host: HostParts) -> Iterable[Chain]:
    """Workload to its own host (datamodel 15.5): services that are always allowed, egress policy, then the action."""
    services = Rule((Verdict("jump", HOST_SERVICES),), "what a workload may always ask of its host")
    workloads = _for_prefixes(config, "iifname", (Verdict("goto", "host-policy"),), "workload")
    yield Chain("input-policy", (*workloads, *host.input), Hook("input", 0))
    yield Chain(
        "host-policy",
        (
            _established(),
            services,
            Rule((Meta("iifname"), Lookup(FROM_MAP, verdict=True)), "egress policy of the workload"),
            Rule(drop("unknown-interface"), "unknown workload interface"),
        ),
    )
    action = drop("endpoint-to-host") if config.endpoint_to_host == "drop" else (ACCEPT,)
    to_action = _for_prefixes(config, "iifname", (Verdict("goto", "host-action"),), "workload")
    yield Chain("input-action", to_action, Hook("input", 1))
    yield Chain(
        "host-action",
        (_established(), services, Rule(action, f"workload to host: {config.endpoint_to_host}")),
    )


def _output(config: RulesConfig, host: HostParts) -> Iterable[Chain]:
    """The host reaches its own workloads whatever their policy (datamodel 15.5), but no unknown interface."""
    workloads = _for_prefixes(config, "oifname", (Verdict("goto", "host-to-workload"),), "workload")
    yield Chain("output", (*workloads, *host.output), Hook("output", 0))
    yield Chain(
        "host-to-workload",
        (
            _ended(),
            Rule((*in_set(INTERFACES, Meta("oifname")), ACCEPT), "from this host to its workload"),
            Rule(drop("unknown-interface"), "unknown workload interface"),
        ),
    )


def _ended() -> Rule:
    return Rule((Verdict("jump", ENDED_FLOWS),), "what would bring an ended flow back")


def _established() -> Rule:
    return Rule((*ESTABLISHED_OR_RELATED, ACCEPT), "known connection")


def _for_prefixes(config: RulesConfig, key: str, action: Exprs, comment: str) -> tuple[Rule, ...]:
    rules = []
    for prefix in config.interface_prefixes:
        matches: Exprs = interface("iifname" if key == "iifname" else "oifname", prefix)
        rules.append(Rule((*matches, *action), comment))
    return tuple(rules)
