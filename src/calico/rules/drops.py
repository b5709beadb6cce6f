"""Why the ruleset drops packets: each reason has a named counter, which counts on the way to the drop and nowhere else.

The counters belong to the table, not to a rule: they go on counting when chains are rewritten, and when Felix starts
anew. A packet that is accepted meets none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from calico.netlink.nftables.expr import CountIn, Expr, Reject
from calico.rules.loads import DROP, Exprs
from calico.rules.table import TableState

__all__ = ["REASONS", "DropReason", "Reason", "counter_name", "drop", "drop_with", "reason_of", "write_counters"]

Reason: TypeAlias = Literal[
    "spoofed-source",
    "spoofed-router",
    "spoofed-icmp-error",
    "host-loopback",
    "unknown-interface",
    "encapsulated",
    "tunnel-stranger",
    "dhcp-server",
    "invalid-connection",
    "ended-connection",
    "policy-deny",
    "policy-damaged",
    "policy-missing",
    "policy-too-large",
    "tier-default",
    "no-profile-allows",
    "profile-missing",
    "host-endpoint-default",
    "endpoint-to-host",
    "packet-rate",
    "bandwidth",
    "connection-limit",
    "refused-by-kernel",
]

_PREFIX: Final = "drop-"


class DropReason(msgspec.Struct, frozen=True):
    """A reason for people: what was dropped, and what to do if it should not have been."""

    name: Reason
    meaning: str
    remedy: str


_TEXTS: Final[Mapping[Reason, tuple[str, str]]] = {
    "spoofed-source": (
        "a workload sent from an address that is not its own, or with IP options or a routing header",
        "give the workload the address (ipNetworks), or allow the networks (allowSpoofedSourcePrefixes)",
    ),
    "spoofed-router": (
        "a workload sent an ICMP redirect or an IPv6 router advertisement",
        "nothing: workloads are no routers; look for a misconfigured or hostile workload",
    ),
    "spoofed-icmp-error": (
        "a workload sent an ICMP error about a packet that was not sent to it",
        "nothing: it could end connections of others; a workload that routes needs allowSpoofedSourcePrefixes",
    ),
    "host-loopback": (
        "a workload sent to 127.0.0.0/8 of its host",
        "use an address of the host instead",
    ),
    "unknown-interface": (
        "to or from an interface with a workload's name that no endpoint has (before the first sync any: the guard)",
        "see that Felix is in sync (calico node status) and that a WorkloadEndpoint of this node has the interface",
    ),
    "encapsulated": (
        "a workload sent IP in IP or VXLAN",
        "AllowIPIPPacketsFromWorkloads, AllowVXLANPacketsFromWorkloads",
    ),
    "tunnel-stranger": (
        "VXLAN or IP in IP that came to this host from the address of no Node, while this host has that tunnel",
        "register the host (calico node address --write); else look for a hostile or misconfigured sender",
    ),
    "dhcp-server": (
        "a workload answered as a DHCP server",
        "nothing: the host answers",
    ),
    "invalid-connection": (
        "connection tracking finds that the packet fits into no connection",
        "look for asymmetric routes; DisableConntrackInvalidCheck lets policy decide instead",
    ),
    "ended-connection": (
        "a segment of a connection that was ended because a changed policy forbids it",
        "nothing: the workload has to connect anew, if policy allows it again",
    ),
    "policy-deny": (
        "a Deny rule of a policy or profile",
        "mend the policy; flow logs tell which rule it was",
    ),
    "policy-damaged": (
        "the policy that decides cannot be interpreted, and denies everything",
        "see the condition resource-invalid (calico node status) and mend the policy",
    ),
    "policy-missing": (
        "the endpoint names a policy that this host was not told",
        "nothing, if it ends within a second; else see whether Felix is in sync",
    ),
    "policy-too-large": (
        "a rule of the policy has more conditions than the kernel takes, so the policy denies everything",
        "split the rule",
    ),
    "tier-default": (
        "a tier has policies for the endpoint, and none of them decided",
        "allow it in a policy of the tier, or let the tier pass (defaultAction)",
    ),
    "no-profile-allows": (
        "no policy decided, and no profile of the workload allows it",
        "allow it in a policy, or in a profile of the endpoint",
    ),
    "profile-missing": (
        "the endpoint names a profile that does not exist",
        "create the profile, or mend its name",
    ),
    "host-endpoint-default": (
        "a host endpoint whose policies did not decide and that no profile opens",
        "allow it in a policy for the host endpoint; failsafe ports are open anyway",
    ),
    "endpoint-to-host": (
        "policy allowed a workload to reach its host, the host does not",
        "DefaultEndpointToHostAction Accept or Return",
    ),
    "packet-rate": (
        "more packets a second than the endpoint's QoS allows",
        "raise the packet rate of the endpoint",
    ),
    "bandwidth": (
        "more bits a second than the endpoint's QoS allows",
        "raise the bandwidth of the endpoint",
    ),
    "connection-limit": (
        "more connections at once than the endpoint's QoS allows",
        "raise the endpoint's maximum of connections",
    ),
    "refused-by-kernel": (
        "the kernel refused the rules of a chain, so a drop rule stands for them",
        "see the condition dataplane-rejected (calico node status)",
    ),
}

REASONS: Final = tuple(DropReason(name, *texts) for name, texts in _TEXTS.items())
"""Every reason, in the order in which packets may meet them."""


def counter_name(reason: Reason) -> str:
    """The counter of a reason in our table."""
    return _PREFIX + reason


def reason_of(counter: str) -> str | None:
    """The reason that a counter counts, also one of another version of ours; None: it counts something else."""
    return counter.removeprefix(_PREFIX) if counter.startswith(_PREFIX) else None


def drop(reason: Reason) -> Exprs:
    """Count and drop."""
    return drop_with(reason, DROP)


def drop_with(reason: Reason, action: Expr | Reject) -> Exprs:
    """Count, and drop or reject."""
    return CountIn(counter_name(reason)), action


def write_counters(state: TableState) -> None:
    """All of them, whether something uses them now or not: so they count on when it does again."""
    for reason in _TEXTS:
        state.want_counter(counter_name(reason))
