"""The Log action: prefix template, rate, and that it decides nothing (datamodel 15.3)."""

from __future__ import annotations

from typing import Any

import pytest

from calico.calc.messages import ActiveRule, PolicyUpdate, ProfileUpdate, TierPolicies
from calico.model.keys import ResourceKey
from calico.netlink.nftables.expr import Limit, Log
from calico.rules.logprefix import log_prefix
from calico.rules.names import policy_name

NP = ResourceKey("NetworkPolicy", "ns", "web")
GNP = ResourceKey("GlobalNetworkPolicy", "", "deny")
LOG = (ActiveRule(action="log"),)


@pytest.mark.parametrize(
    ("template", "key", "tier", "prefix"),
    [
        ("calico-packet", NP, "t", "calico-packet: "),
        ("%t %k %n %p", NP, "first", "first NetworkPolicy web ns/web: "),
        ("%t|%k|%n|%p", GNP, "default", "default|GlobalNetworkPolicy|deny|deny: "),
        ("%t%n", ResourceKey("Profile", "", "open"), "", "open: "),
        ("100%", NP, "t", "100%: "),
        ("%x%%n", NP, "t", "%x%web: "),
        ("%n", ResourceKey("NetworkPolicy", "ns", "%t"), "t", "%t: "),
    ],
)
def test_the_prefix_names_the_policy_as_the_template_says(
    template: str, key: ResourceKey, tier: str, prefix: str
) -> None:
    assert log_prefix(template, key, tier) == prefix


def test_a_prefix_is_never_longer_than_the_kernels_and_keeps_its_end() -> None:
    prefix = log_prefix("%n%n%p", ResourceKey("NetworkPolicy", "n" * 63, "x" * 250), "t")
    assert len(prefix.encode()) == 127
    assert prefix.endswith("x: ")


def test_a_hostile_name_cannot_reach_a_terminal_through_the_log() -> None:
    prefix = log_prefix("%n", ResourceKey("NetworkPolicy", "ns", 'a\x1b]0;\x07"\\\n\u202eü'), "t")
    assert prefix == "a?]0;??????: "


def test_each_policy_and_profile_logs_under_its_own_name(make_host: Any) -> None:
    host = make_host(log_prefix="%t/%n")
    host.say(PolicyUpdate(key=NP, tier="first", ingress=LOG, egress=()))
    host.say(ProfileUpdate(name="noted", ingress=(*LOG, ActiveRule(action="allow")), egress=()))
    tier = TierPolicies(name="first", default_action="pass", ingress=(NP,))
    host.workload(1, tier, profiles=("noted",))
    outcome = host.forward("eth0", "cali1", host.flow("9.9.9.9", "10.0.0.1"))
    assert (outcome.verdict, outcome.logs) == ("accept", ("first/web: ", "/noted: "))


@pytest.mark.parametrize(("burst", "wanted"), [(0, 1), (1, 1), (9999, 9999)])
def test_a_rate_limit_stands_right_before_the_log_so_that_it_never_keeps_the_next_rule_away(
    make_host: Any, burst: int, wanted: int
) -> None:
    host = make_host(log_rate=(10, 60), log_burst=burst)
    host.say(PolicyUpdate(key=NP, tier="t", ingress=(*LOG, ActiveRule(action="allow")), egress=()))
    host.workload(1, TierPolicies(name="t", default_action="deny", ingress=(NP,)), profiles=())
    first, second = host.state.chains[policy_name("ingress", NP)].rules
    assert first.exprs == (Limit(10, 60, wanted), Log("calico-packet: "))
    assert not any(isinstance(expr, Limit) for expr in second.exprs)
    assert host.forwards("eth0", "cali1", host.flow("9.9.9.9", "10.0.0.1"))


def test_the_kind_of_a_profile_is_profile(make_host: Any) -> None:
    host = make_host(log_prefix="%k")
    host.say(ProfileUpdate(name="noted", ingress=LOG, egress=()))
    host.workload(1, profiles=("noted",))
    assert host.forward("eth0", "cali1", host.flow("9.9.9.9", "10.0.0.1")).logs == ("Profile: ",)
