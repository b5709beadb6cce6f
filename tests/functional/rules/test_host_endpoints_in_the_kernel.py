"""Host endpoints in a real kernel: every kind of policy loads, reads back and lists, with and without rejection."""

from __future__ import annotations

from typing import Any

import pytest

from calico.calc.messages import (
    ActiveRule,
    HostEndpointRemove,
    HostEndpointUpdate,
    PolicyUpdate,
    ProfileUpdate,
    RuleSide,
    TierPolicies,
)
from calico.lib.packed import net
from calico.model.keys import ResourceKey
from calico.rules.config import FailsafePort, RulesConfig

pytestmark = pytest.mark.root

P, Q = (ResourceKey("GlobalNetworkPolicy", "", name) for name in "pq")
RULES = (
    ActiveRule(action="log", protocol=6),
    ActiveRule(action="pass", protocol=6, dst=RuleSide(ports=((1, 1),))),
    ActiveRule(action="allow", protocol=17, dst=RuleSide(ports=((53, 53), (80, 90)))),
    ActiveRule(action="deny"),
)
TIERS = (
    TierPolicies(name="one", default_action="pass", ingress=(P, Q), egress=(P,)),
    TierPolicies(name="two", default_action="deny", ingress=(Q,), egress=(Q,)),
)
INGRESS = tuple(TierPolicies(name=tier.name, default_action="deny", ingress=tier.ingress) for tier in TIERS)


def endpoint(name: str, interface: str) -> HostEndpointUpdate:
    return HostEndpointUpdate(
        name=name,
        key=ResourceKey("HostEndpoint", "", name),
        interface=interface,
        tiers=TIERS,
        forward_tiers=TIERS,
        untracked_tiers=TIERS,
        pre_dnat_tiers=INGRESS,
        profiles=("open",),
    )


def load(host: Any) -> None:
    open_ = ProfileUpdate(name="open", ingress=(ActiveRule(action="allow"),), egress=(ActiveRule(action="allow"),))
    host.apply(open_, *(PolicyUpdate(key=key, tier="t", ingress=RULES, egress=RULES) for key in (P, Q)))
    host.apply(endpoint("any", "*"), endpoint("eth", "eth0"))


@pytest.mark.parametrize("deny", ["drop", "reject"])
def test_every_kind_of_policy_loads_and_reads_back_as_it_was_wanted(host: Any, deny: Any) -> None:
    host.use(RulesConfig(deny=deny, failsafe_in=(FailsafePort(6, 22), FailsafePort(17, 68, net("fd00::/8")))))
    load(host)
    host.dataplane.resync()
    again = host.dataplane.apply()
    assert (again.changed, again.messages, again.failed) == (False, 0, ())


def test_the_table_is_as_before_when_the_last_host_endpoint_has_gone(host: Any) -> None:
    host.apply()
    before = host.nft("-s", "list", "table", "inet", "calico")
    load(host)
    assert host.nft("-s", "list", "table", "inet", "calico") != before
    host.apply(HostEndpointRemove(name="eth"), HostEndpointRemove(name="any"))
    assert host.nft("-s", "list", "table", "inet", "calico") == before


def test_a_listing_reads_like_rules_that_a_person_wrote(host: Any) -> None:
    load(host)
    listing = host.nft("list", "table", "inet", "calico")
    for line in (
        "type filter hook prerouting priority raw; policy accept;",
        "type filter hook prerouting priority mangle; policy accept;",
        "type filter hook postrouting priority mangle; policy accept;",
        'meta mark set meta mark & 0xfffdffff comment "nothing was accepted yet"',
        'meta mark & 0x00020000 != 0x00000000 accept comment "accepted before"',
        "udp dport @cp-",
        "meta mark set meta mark | 0x00020000 notrack accept",
        'ct status dnat accept comment "translated: judged where it leaves"',
        "ct status dnat fib saddr type local goto host-translated",
        'iifname vmap @hep-in comment "policy of the host endpoint"',
        'iifname "lo" accept comment "loopback"',
        'meta l4proto . th dport @fs-in accept comment "failsafe port"',
        'meta l4proto . th sport @fs-out accept comment "reply of a failsafe port"',
        '"eth0" : goto gi-',
        "tcp . 6443",
    ):
        assert line in listing, f"{line}\n{listing}"
