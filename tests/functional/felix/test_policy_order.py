"""Tiers, orders, profiles and policies of one namespace: which rule decides."""

from __future__ import annotations

import json
from typing import Any

from felix_world import World, resource

ALLOW, DENY, PASS = ({"action": action} for action in ("Allow", "Deny", "Pass"))


def policy(name: str, direction: str, *rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    spec = {"selector": "app in {'a', 'b'}", "types": [direction.title()], direction: list(rules), **more}
    tier = more.get("tier", "default")
    return resource("GlobalNetworkPolicy", name if tier == "default" else f"{tier}.{name}", spec)


def tier(name: str, order: float, action: str = "Deny") -> dict[str, Any]:
    return resource("Tier", name, {"order": order, "defaultAction": action})


def tcp(action: dict[str, Any]) -> dict[str, Any]:
    return {**action, "protocol": "TCP"}


def test_the_policy_with_the_lower_order_decides(world: World, family: int, direction: str) -> None:
    world.apply(policy("z", direction, tcp(ALLOW), order=1), policy("a", direction, DENY, order=2))
    world.expect(family, "a>b tcp:80", "!a>b udp:80")
    world.apply(policy("z", direction, tcp(ALLOW), order=3))
    world.expect(family, "!a>b tcp:80")


def test_policies_without_order_come_last_and_equal_orders_go_by_name(
    world: World, family: int, direction: str
) -> None:
    world.apply(policy("a", direction, DENY), policy("z", direction, tcp(ALLOW), order=1e6))
    world.expect(family, "a>b tcp:80", "!a>b udp:80")
    world.apply(policy("a", direction, tcp(DENY), order=1e6), policy("z", direction, ALLOW, order=1e6))
    world.expect(family, "!a>b tcp:80", "a>b udp:80")


def test_an_allow_in_an_earlier_tier_beats_a_deny_in_a_later_one(world: World, family: int, direction: str) -> None:
    world.apply(tier("first", 1), policy("p", direction, tcp(ALLOW), tier="first"), policy("q", direction, DENY))
    world.expect(family, "a>b tcp:80", "!a>b udp:80")


def test_pass_goes_on_to_the_next_tier_and_skips_the_rest_of_this_one(
    world: World, family: int, direction: str
) -> None:
    world.apply(
        tier("first", 1),
        policy("p", direction, tcp(PASS), order=1, tier="first"),
        policy("r", direction, tcp(DENY), order=2, tier="first"),
        policy("q", direction, ALLOW),
    )
    world.expect(family, "a>b tcp:80", "!a>b udp:80")


def test_a_tier_that_does_not_decide_denies_or_passes_by_its_default_action(
    world: World, family: int, direction: str
) -> None:
    documents = (policy("p", direction, tcp(DENY), tier="first"), policy("q", direction, ALLOW))
    world.apply(tier("first", 1, "Pass"), *documents)
    world.expect(family, "!a>b tcp:80", "a>b udp:80")
    world.apply(tier("first", 1, "Deny"))
    world.expect(family, "!a>b tcp:80", "!a>b udp:80")


def test_a_tier_without_a_policy_for_the_endpoint_is_skipped(world: World, family: int, direction: str) -> None:
    world.apply(
        tier("first", 1),
        policy("p", direction, DENY, tier="first", selector="app == 'nobody'"),
        policy("q", direction, tcp(ALLOW)),
    )
    world.expect(family, "a>b tcp:80", "!a>b udp:80")


def test_tiers_swap_when_their_orders_do(world: World, family: int, direction: str) -> None:
    one = policy("p", direction, tcp(ALLOW), tier="one")
    two = policy("q", direction, tcp(DENY), tier="two")
    world.apply(tier("one", 1), tier("two", 2), one, two)
    world.expect(family, "a>b tcp:80")
    world.apply(tier("one", 3))
    world.expect(family, "!a>b tcp:80")


def test_pass_from_the_last_tier_leads_to_the_profiles_in_their_order(
    world: World, family: int, direction: str
) -> None:
    profiles = ["deny-tcp", "allow-some"]
    some = [tcp(ALLOW), {**ALLOW, "protocol": "UDP"}]
    world.apply(
        resource("Profile", "deny-tcp", {"ingress": [tcp(DENY)], "egress": [tcp(DENY)]}),
        resource("Profile", "allow-some", {"ingress": some, "egress": some}),
        policy("p", direction, PASS),
        *(world.endpoint(name, profiles=profiles) for name in "ab"),
    )
    world.expect(family, "!a>b tcp:80", "a>b udp:80", "!a>b icmp")
    world.apply(*(world.endpoint(name, profiles=profiles[::-1]) for name in "ab"))
    world.expect(family, "a>b tcp:80", "a>b udp:80", "!a>b icmp")


def test_a_missing_profile_denies_everything_until_it_exists(world: World, family: int) -> None:
    world.apply(world.endpoint("b", profiles=["not-there"]))
    world.expect(family, "!a>b tcp:80", "!b>a tcp:80", "a>c tcp:80")
    world.apply(resource("Profile", "not-there", {"ingress": [ALLOW], "egress": [tcp(ALLOW)]}))
    world.expect(family, "a>b tcp:80", "a>b udp:1", "b>a tcp:80", "!b>a udp:80")


def test_an_endpoint_without_profile_and_policy_has_no_connectivity(world: World, family: int) -> None:
    world.apply(world.endpoint("b", profiles=[]))
    world.expect(family, "!a>b tcp:80", "!b>a tcp:80", "!x>b tcp:80", "!b>x icmp", "x>a tcp:80")


def test_a_policy_of_one_direction_leaves_the_other_to_the_profiles(world: World, family: int) -> None:
    world.apply(policy("p", "ingress", selector="app == 'b'"))
    world.expect(family, "!a>b tcp:80", "b>a tcp:80", "!x>b udp:1", "b>x udp:1")
    world.apply(policy("p", "egress", selector="app == 'b'"))
    world.expect(family, "a>b tcp:80", "!b>a tcp:80", "x>b udp:1", "!b>x udp:1")


def test_a_namespaced_policy_governs_and_selects_its_own_namespace_only(world: World, family: int) -> None:
    spec = {"selector": "all()", "types": ["Ingress"], "ingress": [{**ALLOW, "source": {"selector": "all()"}}]}
    world.apply(resource("NetworkPolicy", "p", spec, "default"))
    world.expect(family, "a>b tcp:80", "!c>b tcp:80", "!x>b tcp:80", "a>c tcp:80", "x>c tcp:80")


def test_source_egress_and_destination_ingress_must_both_allow(world: World, family: int) -> None:
    out = policy("out", "egress", {**ALLOW, "protocol": "TCP", "destination": {"ports": [80, 81]}}, selector="app=='a'")
    into = policy(
        "in", "ingress", {**ALLOW, "protocol": "TCP", "destination": {"ports": [81, 82]}}, selector="app=='b'"
    )
    world.apply(out, into)
    world.expect(family, "!a>b tcp:80", "a>b tcp:81", "!a>b tcp:82", "a>c tcp:80", "c>b tcp:82")


def test_pass_in_a_profile_goes_on_to_the_next_profile_and_deny_and_log_are_what_they_are(
    world: World, family: int, direction: str
) -> None:
    first = [tcp(PASS), {"action": "Deny", "protocol": "UDP"}, {"action": "Log"}]
    second = [tcp(ALLOW), {**ALLOW, "protocol": "UDP"}, {**ALLOW, "protocol": 47}]
    world.apply(
        resource("Profile", "first", {direction: first}),
        resource("Profile", "second", {direction: second, _other(direction): [ALLOW]}),
        world.endpoint("b" if direction == "ingress" else "a", profiles=["first", "second"]),
    )
    world.expect(family, "a>b tcp:80", "!a>b udp:80", "a>b gre", "!a>b icmp")


def test_pass_in_the_last_profile_allows_nothing(world: World, family: int, direction: str) -> None:
    world.apply(
        resource("Profile", "only", {direction: [PASS], _other(direction): [ALLOW]}),
        world.endpoint("b" if direction == "ingress" else "a", profiles=["only"]),
    )
    world.expect(family, "!a>b tcp:80", "!a>b udp:80")


def test_the_profile_that_allows_everything_is_never_read_from_the_datastore(world: World, family: int) -> None:
    name = "projectcalico-default-allow"
    stored = resource("Profile", name, {"ingress": [DENY], "egress": [DENY], "labelsToApply": {"forged": "yes"}})
    world.put_raw({f"profiles/{name}": json.dumps(stored)})
    world.expect(family, "a>b tcp:80", "x>a icmp")
    world.apply(policy("p", "ingress", {**ALLOW, "source": {"selector": "has(forged)"}}))
    world.expect(family, "!a>b tcp:80", "!c>b tcp:80")
    world.put_raw({f"profiles/{name}": None})
    world.expect(family, "!a>b tcp:80", "a>c tcp:80")


def test_many_policies_and_tiers_with_passes_between_them_decide_in_order(
    world: World, family: int, direction: str
) -> None:
    """More than the kernel's jumps are deep, in both dimensions."""
    documents = []
    for number in range(12):
        documents.append(tier(f"t{number}", number))
        for place in range(15):
            closed = {"action": "Deny", "protocol": "TCP", "destination": {"ports": [2000 + 15 * number + place]}}
            documents.append(policy(f"p{place}", direction, closed, order=place, tier=f"t{number}"))
        documents.append(policy("last", direction, PASS, order=99, tier=f"t{number}"))
    documents.append(policy("end", direction, tcp(ALLOW)))
    world.apply(*documents)
    closed_ports = (2000, 2014, 2100, 2179)
    world.expect(family, "a>b tcp:80", *(f"!a>b tcp:{port}" for port in closed_ports), "a>b tcp:2180", "!a>b udp:80")


def test_a_policy_needed_on_every_node_is_in_the_kernel_before_an_endpoint_uses_it(world: World, family: int) -> None:
    hint = {"performanceHints": ["AssumeNeededOnEveryNode"]}
    world.apply(policy("ready", "ingress", tcp(ALLOW), selector="role == 'later'", **hint))
    assert "chain pi-gnp/ready" in world.ruleset()
    world.expect(family, "a>b udp:80")
    world.apply(world.endpoint("b", labels={"role": "later"}))
    world.expect(family, "a>b tcp:80", "!a>b udp:80")
    world.delete("GlobalNetworkPolicy", "ready")
    assert "chain pi-gnp/ready" not in world.ruleset()
    world.expect(family, "a>b udp:80")


def test_a_tier_that_does_not_exist_comes_last_and_denies_at_its_end(world: World, family: int, direction: str) -> None:
    """As somebody may have stored it: the store itself would refuse a policy without its tier."""
    spec = {"tier": "absent", "order": 0, "selector": "app in {'a', 'b'}", "types": [direction.title()]}
    stored = resource("GlobalNetworkPolicy", "absent.p", {**spec, direction: [tcp(ALLOW)]})
    world.put_raw({"globalnetworkpolicies/absent.p": json.dumps(stored)})
    world.expect(family, "a>b tcp:80", "!a>b udp:80")
    world.apply(policy("q", direction, {**DENY, "protocol": "TCP", "destination": {"ports": [80]}}, PASS))
    world.expect(family, "!a>b tcp:80", "a>b tcp:81", "!a>b udp:80")


def test_a_stored_policy_without_types_governs_both_directions(world: World, family: int) -> None:
    """As OpenStack's security groups are stored; a policy written without types gets those of its rules."""
    bare = {"selector": "app == 'b'", "ingress": [tcp(ALLOW)]}
    world.put_raw({"networkpolicies/default/ossg.default.p": json.dumps(resource("NetworkPolicy", "p", bare))})
    world.expect(family, "a>b tcp:80", "!a>b udp:80", "!b>a tcp:80", "a>c udp:80")
    world.put_raw({"networkpolicies/default/ossg.default.p": None})
    world.apply(resource("NetworkPolicy", "p", bare, "default"))
    world.expect(family, "a>b tcp:80", "!a>b udp:80", "b>a tcp:80")


def test_a_global_policy_governs_the_namespaces_and_accounts_that_it_selects(world: World, family: int) -> None:
    world.apply(
        resource("Profile", "kns.other", {"labelsToApply": {"pcns.team": "red"}}),
        resource("Profile", "ksa.default.robot", {"labelsToApply": {"pcsa.role": "r"}}),
        world.endpoint("c", profiles=["kns.other", "projectcalico-default-allow"]),
        world.endpoint("b", profiles=["ksa.default.robot", "projectcalico-default-allow"]),
        policy("n", "ingress", tcp(ALLOW), selector="all()", namespaceSelector="team == 'red'"),
        policy("s", "ingress", {**ALLOW, "protocol": "UDP"}, selector="", serviceAccountSelector="role == 'r'"),
    )
    world.expect(family, "a>c tcp:80", "!a>c udp:80", "!a>b tcp:80", "a>b udp:80", "b>a tcp:80", "b>a udp:80")
    spec = {"serviceAccountSelector": "role == 'r'", "types": ["Egress"], "egress": [tcp(ALLOW)]}
    world.apply(resource("NetworkPolicy", "e", spec, "default"), resource("NetworkPolicy", "e", spec, "other"))
    world.expect(family, "b>a tcp:80", "!b>a udp:80", "c>a udp:80", "a>d udp:80")


def _other(direction: str) -> str:
    return "egress" if direction == "ingress" else "ingress"
