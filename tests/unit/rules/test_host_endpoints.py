"""Datamodel 15.4: which interface is which host endpoint, and what each kind of its policy decides."""

from __future__ import annotations

from typing import Any

import pytest

from calico.calc.messages import (
    ActiveRule,
    HostEndpointRemove,
    PolicyRemove,
    PolicyUpdate,
    RuleSide,
    TierPolicies,
)
from calico.lib.packed import net
from calico.model.keys import ResourceKey
from calico.netlink.nftables.expr import Reject
from calico.rules.config import FailsafePort

A, B = (ResourceKey("GlobalNetworkPolicy", "", name) for name in "ab")
FAMILIES = pytest.mark.parametrize("v6", [False, True], ids=["v4", "v6"])


def policy(key: ResourceKey, *actions: tuple[Any, int]) -> PolicyUpdate:
    """Each (action, destination port or 0 for all), in both directions."""
    rules = tuple(
        ActiveRule(action=action, protocol=6, dst=RuleSide(ports=((port, port),)))
        if port
        else ActiveRule(action=action)
        for action, port in actions
    )
    return PolicyUpdate(key=key, tier="t", ingress=rules, egress=rules)


def tier(*keys: ResourceKey, default: Any = "deny") -> tuple[TierPolicies, ...]:
    return (TierPolicies(name="t", default_action=default, ingress=keys, egress=keys),)


def packet(host: Any, dport: int = 80, v6: bool = False, **fields: Any) -> Any:
    return host.between(8, 9, v6, dport=dport, **fields)


def only_ingress(tiers: tuple[TierPolicies, ...]) -> tuple[TierPolicies, ...]:
    return tuple(TierPolicies(name=t.name, default_action=t.default_action, ingress=t.ingress) for t in tiers)


# -- which interface --------------------------------------------------------------------------------------------------


@FAMILIES
def test_a_host_endpoint_without_policy_and_profile_drops_all_but_failsafe_ports(host: Any, v6: bool) -> None:
    host.endpoint()
    assert not host.reached_from("eth0", packet(host, 80, v6))
    assert host.reached_from("eth0", packet(host, 22, v6))
    assert host.reached_from("eth0", packet(host, 68, v6, protocol=17))
    assert not host.reached_from("eth0", packet(host, 68, v6))
    assert not host.reached_from("eth0", packet(host, 53, v6, protocol=17))
    assert not host.sends_to("eth0", packet(host, 80, v6))
    assert host.sends_to("eth0", packet(host, 53, v6, protocol=17))
    assert not host.sends_to("eth0", packet(host, 22, v6))


def test_other_interfaces_and_what_is_forwarded_are_not_touched(host: Any) -> None:
    host.endpoint()
    host.workload(1)
    assert host.reached_from("eth1", packet(host))
    assert host.sends_to("eth1", packet(host))
    assert host.forwards("eth0", "eth1", packet(host))
    assert host.forwards("eth0", "cali1", host.between(9, 1))
    assert host.forwards("cali1", "eth0", host.between(1, 9))


def test_known_connections_go_on_and_invalid_ones_do_not(host: Any) -> None:
    host.endpoint(profiles=("open",))
    assert host.reached_from("eth0", packet(host))
    assert not host.reached_from("eth0", packet(host), ct_state="invalid")
    assert not host.reached_from("eth0", packet(host, 22), ct_state="invalid")
    host.endpoint()
    for state in ("established", "related"):
        assert host.reached_from("eth0", packet(host), ct_state=state)
        assert host.sends_to("eth0", packet(host), ct_state=state)


@FAMILIES
def test_neighbour_discovery_with_the_link_works_whatever_policy_says(host: Any, v6: bool) -> None:
    """And is not forwarded: a hop limit below 255 was decremented on the way. Reports of listeners are sent with 1."""
    host.endpoint()
    of_link = {**dict.fromkeys((133, 134, 135, 136), 255), **dict.fromkeys((130, 131, 132, 143), 1)} if v6 else {}
    for kind in (*range(127, 147), 0, 1, 3, 8, 255):
        for hop_limit in (255, 254, 64, 2, 1):
            asked = host.between(8, 9, v6, protocol=58 if v6 else 1, icmp=(kind, 0), hop_limit=hop_limit)
            passes = of_link.get(kind) == hop_limit
            assert host.reached_from("eth0", asked) == passes, (kind, hop_limit)
            assert host.sends_to("eth0", asked) == passes, (kind, hop_limit)


def test_a_name_wins_over_an_address_and_an_address_over_the_rest(host: Any) -> None:
    host.say(policy(A, ("allow", 1)), policy(B, ("allow", 2)))
    host.endpoint("any", "*", profiles=("open",))
    host.endpoint("by-address", "", "10.0.0.9", tiers=tier(A))
    host.endpoint("by-name", "eth0", tiers=tier(B))
    host.link("eth0", "10.0.0.9")
    host.link("eth1", "10.0.0.8", "10.0.0.9")
    host.link("eth2", "10.0.0.8")
    assert [host.reached_from("eth0", packet(host, port)) for port in (1, 2, 3)] == [False, True, False]
    assert [host.reached_from("eth1", packet(host, port)) for port in (1, 2, 3)] == [True, False, False]
    assert [host.reached_from("eth2", packet(host, port)) for port in (1, 2, 3)] == [True, True, True]
    assert host.ruleset.host_endpoint_interfaces() == {
        "any": ("eth2",),
        "by-address": ("eth1",),
        "by-name": ("eth0",),
    }
    host.say(HostEndpointRemove(name="by-name"))
    assert [host.reached_from("eth0", packet(host, port)) for port in (1, 2, 3)] == [True, False, False]
    host.say(HostEndpointRemove(name="by-address"))
    assert host.reached_from("eth0", packet(host, 3))


@pytest.mark.parametrize(("interface", "expected"), [("eth0", ()), ("", ("10.0.0.9",)), ("*", ())])
def test_of_several_with_the_same_claim_the_first_by_name_has_the_interface(
    host: Any, interface: str, expected: tuple[str, ...]
) -> None:
    host.link("eth0", "10.0.0.9")
    host.endpoint("b", interface, *expected, profiles=("open",))
    assert host.reached_from("eth0", packet(host))
    host.endpoint("a", interface, *expected)
    assert not host.reached_from("eth0", packet(host))
    host.endpoint("c", interface, *expected, profiles=("open",))
    assert not host.reached_from("eth0", packet(host))
    host.say(HostEndpointRemove(name="a"))
    assert host.reached_from("eth0", packet(host))


def test_of_two_that_expect_different_addresses_of_an_interface_the_first_by_name_has_it(host: Any) -> None:
    host.link("eth0", "10.0.0.8", "10.0.0.9")
    host.endpoint("b", "", "10.0.0.8", profiles=("open",))
    host.endpoint("a", "", "10.0.0.9")
    host.endpoint("c", "", "10.0.0.9", "10.0.0.8", profiles=("open",))
    assert not host.reached_from("eth0", packet(host))
    host.say(HostEndpointRemove(name="a"))
    assert host.reached_from("eth0", packet(host))


def test_an_interface_that_gets_or_loses_the_expected_address_is_resolved_anew(host: Any) -> None:
    host.endpoint("h", "", "10.0.0.9", "fd00::9")
    host.link("eth0", "10.0.0.1")
    assert host.reached_from("eth0", packet(host))
    host.link("eth0", "10.0.0.1", "fd00::9")
    assert not host.reached_from("eth0", packet(host))
    host.link("eth0", "10.0.0.1")
    host.link("eth1", "10.0.0.9")
    assert host.reached_from("eth0", packet(host))
    assert not host.reached_from("eth1", packet(host))
    host.ruleset.on_host_interface("eth1", None)
    assert host.reached_from("eth1", packet(host))
    assert host.ruleset.host_endpoint_interfaces() == {"h": ()}


def test_a_named_interface_is_judged_from_its_first_packet_even_before_it_is_known(host: Any) -> None:
    host.endpoint()
    assert not host.reached_from("eth0", packet(host))
    host.link("eth0", "10.0.0.9")
    host.ruleset.on_host_interface("eth0", None)
    assert not host.reached_from("eth0", packet(host))


@pytest.mark.parametrize("interface", ["lo", "cali1", "*"])
def test_the_loopback_and_interfaces_of_workloads_are_never_host_endpoints(make_host: Any, interface: str) -> None:
    host = make_host(endpoint_to_host="accept")
    host.say(policy(A, ("deny", 0)))
    host.workload(1)
    host.link("lo", "10.0.0.9")
    host.endpoint("h", interface, "10.0.0.9", pre_dnat_tiers=only_ingress(tier(A)), forward_tiers=tier(A))
    host.endpoint("i", "", "10.0.0.9", untracked_tiers=tier(A))
    assert host.reached_from("lo", packet(host))
    assert host.sends_to("lo", packet(host))
    assert host.reached_from("cali1", host.between(1, 9))
    assert host.sends_to("cali1", host.between(9, 1))
    assert host.forwards("cali1", "cali1", host.between(1, 1))


# -- forwarding -------------------------------------------------------------------------------------------------------


def test_forward_policy_judges_what_comes_in_and_what_goes_out_by_the_endpoint(host: Any) -> None:
    host.say(policy(A, ("allow", 1)))
    host.workload(1)
    host.endpoint(forward_tiers=tier(A))
    for source, destination in (("eth0", "eth1"), ("eth1", "eth0")):
        assert host.forwards(source, destination, packet(host, 1))
        assert not host.forwards(source, destination, packet(host, 2))
        assert not host.forwards(source, destination, packet(host, 22)), "failsafe ports are not for others"
    assert host.forwards("eth0", "cali1", host.between(9, 1, dport=1))
    assert not host.forwards("eth0", "cali1", host.between(9, 1, dport=2))
    assert host.forwards("cali1", "eth0", host.between(1, 9, dport=1))
    assert not host.forwards("cali1", "eth0", host.between(1, 9, dport=2))
    assert not host.forwards("eth0", "eth1", packet(host, 1), ct_state="invalid")
    assert host.forwards("eth0", "eth1", packet(host, 2), ct_state="established")


def test_forwarding_goes_on_when_all_tiers_pass_whatever_the_profiles(host: Any) -> None:
    host.say(policy(A, ("pass", 1), ("deny", 2)))
    host.endpoint(forward_tiers=tier(A, default="pass"))
    assert [host.forwards("eth0", "eth1", packet(host, port)) for port in (1, 2, 3)] == [True, False, True]


def test_a_direction_without_forward_policy_lets_everything_through(host: Any) -> None:
    host.say(policy(A))
    host.endpoint(forward_tiers=only_ingress(tier(A)))
    assert not host.forwards("eth0", "eth1", packet(host))
    assert host.forwards("eth1", "eth0", packet(host))


def test_an_endpoint_of_its_own_keeps_an_interface_from_the_policies_of_the_rest(host: Any) -> None:
    host.say(policy(A))
    host.endpoint("any", "*", forward_tiers=tier(A), pre_dnat_tiers=only_ingress(tier(B)), profiles=("open",))
    host.endpoint("h", "eth0", profiles=("open",))
    assert host.forwards("eth0", "eth0", packet(host))
    assert not host.forwards("eth0", "eth1", packet(host))
    assert not host.reached_from("eth1", packet(host))
    assert host.reached_from("eth0", packet(host))


# -- before connection tracking, before DNAT --------------------------------------------------------------------------


def test_untracked_policy_decides_first_and_what_it_allows_is_not_tracked(host: Any) -> None:
    host.say(policy(A, ("allow", 1), ("deny", 2)))
    host.endpoint(untracked_tiers=tier(A), forward_tiers=only_ingress(tier(B)), pre_dnat_tiers=only_ingress(tier(B)))
    assert host.reached_from("eth0", packet(host, 1)), "normal policy of the endpoint is skipped"
    assert host.sends_to("eth0", packet(host, 1))
    assert not host.reached_from("eth0", packet(host, 2), ct_state="established")
    assert not host.reached_from("eth0", packet(host, 3)), "no end of tier; then normal policy"
    outcome = host.forward("eth0", "eth1", packet(host, 1))
    assert (outcome.verdict, outcome.tracked) == ("accept", False)
    assert not host.forwards("eth0", "eth1", packet(host, 3))


def test_what_untracked_policy_allowed_meets_policy_of_workloads_and_of_the_way_out(host: Any) -> None:
    host.say(policy(A, ("allow", 0)), policy(B, ("deny", 0)))
    host.endpoint("h", "eth0", untracked_tiers=tier(A))
    host.endpoint("i", "eth1", forward_tiers=tier(B))
    host.workload(1, profiles=())
    host.workload(2)
    assert not host.forwards("eth0", "cali1", host.between(9, 1))
    assert host.forwards("eth0", "cali2", host.between(9, 2))
    assert not host.forwards("eth0", "eth1", packet(host))
    assert host.forwards("eth0", "eth2", packet(host))


def test_untracked_policy_is_not_for_the_rest_of_the_interfaces(host: Any) -> None:
    host.say(policy(A, ("allow", 0)))
    host.endpoint("any", "*", untracked_tiers=tier(A))
    assert not host.reached_from("eth0", packet(host))
    assert {"raw-output", "pre-dnat"}.isdisjoint(host.state.chains)


@FAMILIES
def test_untracked_policy_closes_no_failsafe_port_nor_its_replies(host: Any, v6: bool) -> None:
    host.say(policy(A, ("deny", 0)))
    host.endpoint("h", "eth0", untracked_tiers=tier(A), profiles=("open",))
    assert host.reached_from("eth0", packet(host, 22, v6))
    assert host.sends_to("eth0", packet(host, 40000, v6, sport=22), ct_state="established")
    assert host.sends_to("eth0", packet(host, 53, v6, protocol=17))
    assert host.reached_from("eth0", packet(host, 40000, v6, sport=53, protocol=17), ct_state="established")
    assert not host.sends_to("eth0", packet(host, 40000, v6, sport=23), ct_state="established")
    assert not host.reached_from("eth0", packet(host, 40000, v6, sport=22), ct_state="established")


def test_pre_dnat_policy_judges_the_port_that_was_asked_and_skips_other_ingress_policy(host: Any) -> None:
    host.say(policy(A, ("allow", 8080), ("deny", 8081)), policy(B))
    host.endpoint(pre_dnat_tiers=only_ingress(tier(A)), forward_tiers=only_ingress(tier(B)))
    asked, inside = packet(host, 8080), packet(host, 80)
    assert host.reached_from("eth0", asked, inside)
    assert not host.reached_from("eth0", inside, asked)
    assert host.forwards("eth0", "eth1", asked, inside)
    assert not host.forwards("eth0", "eth1", inside, asked)
    assert not host.reached_from("eth0", packet(host, 8081), packet(host, 22))
    assert host.reached_from("eth0", packet(host, 8081), inside, ct_state="established")
    host.workload(1, profiles=())
    assert not host.forwards("eth0", "cali1", asked, host.between(9, 1))


def test_pre_dnat_policy_has_failsafe_ports_and_no_end_of_tier(host: Any) -> None:
    host.say(policy(A, ("deny", 0)), policy(B, ("deny", 1)))
    host.endpoint(pre_dnat_tiers=only_ingress(tier(A)), profiles=("open",))
    assert host.reached_from("eth0", packet(host, 22))
    assert not host.reached_from("eth0", packet(host, 80))
    host.endpoint(pre_dnat_tiers=only_ingress(tier(B)), profiles=("open",))
    assert host.reached_from("eth0", packet(host, 80))


def test_what_untracked_policy_allowed_meets_no_pre_dnat_policy(host: Any) -> None:
    host.say(policy(A, ("allow", 0)), policy(B, ("deny", 0)))
    host.endpoint(untracked_tiers=tier(A), pre_dnat_tiers=only_ingress(tier(B)))
    assert host.reached_from("eth0", packet(host))


def test_a_packet_that_passed_out_of_a_tier_meets_the_next(host: Any) -> None:
    host.say(policy(A, ("pass", 1), ("deny", 2)), policy(B, ("allow", 1)))
    tiers = (*tier(A), *tier(B))
    host.endpoint(untracked_tiers=tiers, pre_dnat_tiers=only_ingress(tiers), tiers=tiers)
    assert [host.reached_from("eth0", packet(host, port)) for port in (1, 2, 3)] == [True, False, False]


@pytest.mark.parametrize("kind", ["untracked_tiers", "pre_dnat_tiers"])
def test_a_policy_that_is_not_known_denies_in_every_kind(host: Any, kind: str) -> None:
    host.say(policy(A, ("allow", 0)))
    host.endpoint(**{kind: only_ingress(tier(A))})
    assert host.reached_from("eth0", packet(host))
    host.say(PolicyRemove(key=A))
    assert not host.reached_from("eth0", packet(host))


# -- marks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kinds", [(), ("untracked_tiers",), ("pre_dnat_tiers",), ("untracked_tiers", "pre_dnat_tiers")]
)
def test_a_mark_that_a_packet_brings_along_opens_nothing(host: Any, kinds: tuple[str, ...]) -> None:
    host.say(policy(A, ("allow", 1)), policy(B))
    host.endpoint(forward_tiers=tier(B), **{kind: only_ingress(tier(A)) for kind in kinds})
    for mark in (0, 0x00010000, 0x00020000, 0xFFFFFFFF):
        assert not host.reached_from("eth0", packet(host, 2), mark=mark)
        assert not host.forwards("eth0", "eth1", packet(host, 2), mark=mark)
        assert not host.sends_to("eth0", packet(host, 2), mark=mark)
        assert host.reached_from("eth0", packet(host, 1), mark=mark) == bool(kinds)
    host.endpoint(untracked_tiers=tier(A))
    assert not host.sends_to("eth0", packet(host, 2), mark=0xFFFFFFFF)
    assert host.sends_to("eth0", packet(host, 1), mark=0xFFFFFFFF)


def test_no_mark_is_touched_without_untracked_or_pre_dnat_policy(host: Any) -> None:
    host.say(policy(A, ("allow", 0)))
    host.endpoint(tiers=tier(A), forward_tiers=tier(A))
    assert host.forward("eth0", "eth1", packet(host), mark=0xFFFFFFFF).mark == 0xFFFFFFFF


# -- failsafe ports ---------------------------------------------------------------------------------------------------


@FAMILIES
def test_a_failsafe_port_may_be_open_to_some_peers_only(make_host: Any, v6: bool) -> None:
    peers = net("fd00::8/125" if v6 else "10.0.0.8/29")
    ports = (FailsafePort(6, 22, peers), FailsafePort(6, 23, net("::/0" if v6 else "0.0.0.0/0")))
    host = make_host(failsafe_in=ports, failsafe_out=ports)
    host.say(policy(A, ("deny", 0)))
    for fields in ({}, {"untracked_tiers": tier(A), "profiles": ("open",)}):
        host.endpoint(**fields)
        assert host.reached_from("eth0", host.between(8, 1, v6, dport=22))
        assert not host.reached_from("eth0", host.between(1, 8, v6, dport=22))
        assert host.sends_to("eth0", host.between(1, 8, v6, dport=22))
        assert not host.sends_to("eth0", host.between(8, 1, v6, dport=22))
        assert host.reached_from("eth0", host.between(1, 8, v6, dport=23))
        assert not host.reached_from("eth0", host.between(1, 8, not v6, dport=23))


def test_without_failsafe_ports_nothing_is_open(make_host: Any) -> None:
    host = make_host(failsafe_in=(), failsafe_out=())
    host.endpoint()
    assert not host.reached_from("eth0", packet(host, 22))
    assert not host.sends_to("eth0", packet(host, 53, protocol=17))


# -- the host's own packets -------------------------------------------------------------------------------------------


def test_a_translated_packet_of_the_host_is_judged_by_where_it_leaves(host: Any) -> None:
    host.say(policy(A, ("allow", 1)), policy(B, ("allow", 2)))
    host.workload(1)
    host.endpoint("h", "eth0", tiers=tier(A))
    host.endpoint("i", "eth1", tiers=tier(B))
    one, two = packet(host, 1), packet(host, 2)
    assert host.sends_to("eth0", two, ("eth1", two))
    assert not host.sends_to("eth0", one, ("eth1", one))
    assert host.sends_to("eth0", two, ("eth0", one)), "judged by what it is made of"
    assert not host.sends_to("eth0", one, ("eth0", two))
    assert host.sends_to("lo", two, ("eth1", two))
    assert not host.sends_to("lo", one, ("eth1", one))
    assert host.sends_to("eth0", two, ("lo", one))
    assert host.sends_to("eth0", two, ("cali1", host.between(9, 1)))
    assert not host.sends_to("cali1", host.between(9, 1), ("eth1", one))
    assert host.sends_to("eth0", one, ("eth1", one), ct_state="established")
    assert host.sends_to("eth0", packet(host, 7), ("eth1", packet(host, 53, protocol=17)))


def test_a_forwarded_packet_that_was_translated_meets_no_policy_for_the_hosts_own(host: Any) -> None:
    host.endpoint("h", "eth0")
    host.endpoint("i", "eth1")
    assert host.forwards("eth0", "eth1", packet(host, 1), packet(host, 2))


def test_the_host_reaches_its_workloads_through_the_endpoint_of_all_interfaces(host: Any) -> None:
    host.workload(1, profiles=())
    host.endpoint("any", "*")
    assert host.sends_to("cali1", host.between(9, 1))
    assert host.sends_to("eth0", packet(host), ("cali1", host.between(9, 1)))
    assert not host.sends_to("cali2", host.between(9, 2))


def test_workloads_that_reach_their_host_meet_no_host_endpoint(make_host: Any) -> None:
    host = make_host(endpoint_to_host="return")
    host.say(policy(A))
    host.workload(1)
    host.workload(2, profiles=())
    host.endpoint("any", "*", pre_dnat_tiers=only_ingress(tier(A)))
    assert host.reached_from("cali1", host.between(1, 9))
    assert not host.reached_from("cali2", host.between(2, 9))


# -- what is in the table ---------------------------------------------------------------------------------------------


def test_the_last_host_endpoint_takes_everything_of_its_own_along(host: Any) -> None:
    host.workload(1)
    chains, sets = dict(host.state.chains), set(host.state.sets)
    host.say(policy(A, ("allow", 1)))
    every = {"tiers": tier(A), "forward_tiers": tier(A), "untracked_tiers": tier(A)}
    host.endpoint("any", "*", pre_dnat_tiers=only_ingress(tier(A)), **every)
    host.endpoint("h", "eth0", **every)
    assert {"raw-output", "pre-dnat", "host-postrouting", "failsafe-in", "failsafe-raw-out"} <= host.state.chains.keys()
    host.say(HostEndpointRemove(name="h"), HostEndpointRemove(name="any"))
    assert dict(host.state.chains) == chains
    assert set(host.state.sets) == sets


def test_a_base_chain_that_nothing_uses_is_not_there(host: Any) -> None:
    host.endpoint(profiles=("open",))
    assert {"raw-output", "pre-dnat", "failsafe-raw-in"}.isdisjoint(host.state.chains)
    assert not [name for name in host.state.sets if name.startswith(("hep-raw", "hep-fwd", "hep-pre"))]
    host.say(policy(A))
    host.endpoint(pre_dnat_tiers=only_ingress(tier(A)))
    assert "pre-dnat" in host.state.chains
    assert "raw-output" not in host.state.chains


def test_endpoints_with_the_same_policies_share_their_chains(host: Any) -> None:
    host.endpoint("h", "eth0", profiles=("open",))
    chains = set(host.state.chains)
    host.state.take()
    host.endpoint("i", "eth1", profiles=("open",))
    assert set(host.state.chains) == chains
    changes = host.state.take()
    assert (changes.chains, changes.sets, set(changes.elements)) == (set(), set(), {"hep-in", "hep-out"})


def test_a_map_leads_to_lists_and_keeps_interfaces_without_one_from_that_of_the_rest(host: Any) -> None:
    host.say(policy(A, ("allow", 1)))
    host.endpoint("any", "*", forward_tiers=tier(A))
    host.endpoint("h", "eth0", untracked_tiers=tier(A), pre_dnat_tiers=only_ingress(tier(A)), forward_tiers=tier(A))
    host.endpoint("i", "eth1")
    interfaces = {name: {key.rstrip(b"\0").decode() for key in host.state.elements(name)}
                  for name in host.state.sets if name.startswith("hep-")}  # fmt: skip
    both = {"eth0", "eth1"}
    assert interfaces == {
        "hep-raw-in": {"eth0"}, "hep-raw-out": {"eth0"}, "hep-pre-dnat": both,
        "hep-in": both, "hep-out": both, "hep-fwd-from": both, "hep-fwd-to": both,
    }  # fmt: skip


def test_a_hundred_host_endpoints_have_room_in_the_maps(host: Any) -> None:
    for number in range(100):
        host.endpoint(f"h{number}", f"eth{number}")
    for name in ("hep-in", "hep-out"):
        assert len(host.state.elements(name)) == 100
        assert host.state.sets[name].size > 130


def test_an_interface_of_no_host_endpoint_changes_nothing(host: Any) -> None:
    host.endpoint("h", "eth0")
    host.endpoint("any", "*")
    host.state.take()
    host.link("eth7", "10.0.0.7")
    host.ruleset.on_host_interface("eth7", None)
    assert not host.state.take()


def test_rejection_is_only_where_the_kernel_takes_it(make_host: Any) -> None:
    """The same policy denies with an answer on input and output, and without before and after."""
    host = make_host(deny="reject")
    host.say(policy(A, ("deny", 1)))
    host.endpoint(tiers=tier(A), untracked_tiers=tier(A), pre_dnat_tiers=only_ingress(tier(A)))
    assert not host.sends_to("lo", packet(host, 1), ("eth0", packet(host, 1)))
    answers = {name for name, chain in host.state.chains.items() for rule in chain.rules for expr in rule.exprs
               if isinstance(expr, Reject)}  # fmt: skip
    policies = {name for name in host.state.chains if name.endswith(("pi-gnp/a", "po-gnp/a"))}
    assert policies & answers == {"pi-gnp/a", "po-gnp/a"}
    assert policies - answers == {"upi-gnp/a", "upo-gnp/a", "ppi-gnp/a", "tpo-gnp/a"}


def reachable(host: Any, base: str) -> set[str]:
    """The chains that a packet in a base chain may get to."""
    found, ahead = set(), {base}
    while ahead:
        name = ahead.pop()
        found.add(name)
        for rule in host.state.chains[name].rules:
            maps = [host.state.elements(expr.set).values() for expr in rule.exprs if getattr(expr, "verdict", False)]
            verdicts = [*rule.exprs, *(verdict for values in maps for verdict in values)]
            ahead |= {verdict.chain for verdict in verdicts if getattr(verdict, "chain", "")} - found
    return found


@pytest.mark.parametrize("name", ["eth0", "*"])
def test_no_rejection_can_be_reached_where_the_kernel_takes_none(make_host: Any, name: str) -> None:
    host = make_host(deny="reject")
    host.say(policy(A, ("deny", 1)))
    host.endpoint("h", name, tiers=tier(A), untracked_tiers=tier(A), pre_dnat_tiers=only_ingress(tier(A)))
    host.endpoint("i", "eth1", untracked_tiers=tier(A))
    bases = {chain.name: chain.hook.hook for chain in host.state.base_chains.values()}
    answering = {name for name, chain in host.state.chains.items() for rule in chain.rules for expr in rule.exprs
                 if isinstance(expr, Reject)}  # fmt: skip
    assert {"raw-prerouting", "raw-output", "pre-dnat", "host-postrouting"} <= bases.keys()
    assert {hook for base, hook in bases.items() if reachable(host, base) & answering} == {"input", "output"}


def words(host: Any, chain: str) -> list[str]:
    return [rule.comment for rule in host.state.chains[chain].rules]


def test_a_chain_asks_only_what_can_matter_there(host: Any) -> None:
    """Every rule costs each packet that gets to it."""
    from_workload, to_workload = words(host, "from-workload"), words(host, "to-workload")
    host.say(policy(A, ("allow", 1)))
    host.endpoint(pre_dnat_tiers=only_ingress(tier(A)))
    assert words(host, "pre-dnat") == ["known connection", "policy of the host endpoint"]
    assert words(host, "host-translated") == ["policy of the host endpoint"]
    assert (words(host, "from-workload"), words(host, "to-workload")) == (from_workload, to_workload)
    assert "accepted before" not in words(host, "output")
    host.endpoint("i", "eth1", untracked_tiers=only_ingress(tier(A)))
    assert words(host, "pre-dnat") == ["known connection", "accepted before", "policy of the host endpoint"]
    assert "accepted before" not in words(host, "output")
