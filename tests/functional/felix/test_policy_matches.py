"""Every match of a rule, in both directions and families, judged by packets on a running host."""

from __future__ import annotations

import json
from typing import Any

import pytest
from felix_world import World, resource

Rule = dict[str, Any]


def guard(direction: str, *rules: Rule, **more: Any) -> dict[str, Any]:
    """A policy with these rules in one direction over workloads a, b and c, after which all else is denied."""
    spec = {"selector": "app in {'a', 'b', 'c'}", "types": [direction.title()], direction: list(rules), **more}
    return resource("GlobalNetworkPolicy", "guard", spec)


def allow(**fields: Any) -> Rule:
    return {"action": "Allow", **fields}


def to(**fields: Any) -> Rule:
    return allow(destination=fields)


def tcp_to(**fields: Any) -> Rule:
    return allow(protocol="TCP", destination=fields)


def source(**fields: Any) -> Rule:
    return allow(source=fields)


# rule or rules; flows that must pass or (!) must not
CASES: dict[str, tuple[Rule | list[Rule], str]] = {
    "no rule allows nothing": ([], "!a>b tcp:80, !a>b udp:53, !a>b icmp, !a>b sctp:9, !a>b gre"),
    "an empty allow rule allows everything": (allow(), "a>b tcp:80, a>b udp:53, a>b icmp, a>b sctp:9, a>b gre"),
    "deny before allow denies": ([{"action": "Deny", "protocol": "TCP"}, allow()], "!a>b tcp:80, a>b udp:53"),
    "allow before deny allows": ([allow(protocol="TCP"), {"action": "Deny"}], "a>b tcp:80, !a>b udp:53"),
    "log goes on with the next rule": ([{"action": "Log"}, allow(protocol="TCP")], "a>b tcp:80, !a>b udp:53"),
    "log alone decides nothing": ({"action": "Log"}, "!a>b tcp:80"),
    "pass leads to the profiles": ([{"action": "Pass", "protocol": "TCP"}], "a>b tcp:80, !a>b udp:53"),
    "pass skips the rules after it": ([{"action": "Pass", "protocol": "TCP"}, {"action": "Deny"}], "a>b tcp:80"),
    "protocol tcp": (allow(protocol="TCP"), "a>b tcp:80, !a>b udp:80, !a>b icmp, !a>b sctp:80"),
    "protocol udp": (allow(protocol="UDP"), "!a>b tcp:80, a>b udp:80, !a>b icmp, !a>b sctp:80"),
    "protocol sctp": (allow(protocol="SCTP"), "!a>b tcp:80, !a>b udp:80, a>b sctp:80"),
    "protocol udplite": (allow(protocol="UDPLite"), "!a>b udp:80, a>b udplite:80"),
    "protocol number 6": (allow(protocol=6), "a>b tcp:80, !a>b udp:80"),
    "protocol number 47": (allow(protocol=47), "a>b gre, !a>b tcp:80, !a>b proto:50"),
    "protocol not tcp": (allow(notProtocol="TCP"), "!a>b tcp:80, a>b udp:80, a>b icmp, a>b sctp:80, a>b gre"),
    "protocol not number 17": (allow(notProtocol=17), "a>b tcp:80, !a>b udp:80, a>b gre"),
    "protocol number as text": (allow(protocol="6"), "a>b tcp:80, !a>b udp:80"),
    "protocol tcp in small letters": (allow(protocol="tcp"), "a>b tcp:80, !a>b udp:80"),
    "protocol udp in mixed letters": (allow(protocol="Udp"), "a>b udp:80, !a>b tcp:80"),
    "protocol sctp in small letters": (allow(protocol="sctp"), "a>b sctp:80, !a>b tcp:80"),
    "protocol udplite in capitals": (allow(protocol="UDPLITE"), "a>b udplite:80, !a>b udp:80"),
    "icmp in small letters": (allow(protocol="@small-icmp"), "a>b icmp, !a>b tcp:80"),
    "icmp by number": (allow(protocol="@icmp-number"), "a>b icmp, !a>b tcp:80"),
    "icmp of the other family by number": (allow(protocol="@other-icmp-number"), "!a>b icmp, !a>b tcp:80"),
    "protocol not udp": (allow(notProtocol="udp"), "a>b tcp:80, !a>b udp:80, a>b udplite:80"),
    "protocol not sctp": (allow(notProtocol="SCTP"), "a>b tcp:80, !a>b sctp:80"),
    "protocol not udplite": (allow(notProtocol="UDPLite"), "a>b udp:80, !a>b udplite:80"),
    "protocol not icmp": (allow(notProtocol="@icmp"), "!a>b icmp, a>b tcp:80, a>b gre"),
    "protocol not icmp of the other family": (allow(notProtocol="@other-icmp"), "a>b icmp, a>b tcp:80"),
    "protocol and not another": (allow(protocol="TCP", notProtocol="UDP"), "a>b tcp:80, !a>b udp:80, !a>b icmp"),
    "protocol not number 47": (allow(notProtocol=47), "!a>b gre, a>b tcp:80, a>b proto:50"),
    "destination port": (tcp_to(ports=[80]), "a>b tcp:80, !a>b tcp:81, !a>b udp:80, !a>b tcp:80:81"),
    "destination port of udp": (allow(protocol="UDP", destination={"ports": [53]}), "a>b udp:53, !a>b udp:54"),
    "destination port of sctp": (allow(protocol="SCTP", destination={"ports": [9]}), "a>b sctp:9, !a>b sctp:10"),
    "destination port range": (
        tcp_to(ports=["80:90"]),
        "!a>b tcp:79, a>b tcp:80, a>b tcp:85, a>b tcp:90, !a>b tcp:91",
    ),
    "many ports and ranges": (
        tcp_to(ports=[22, *range(1001, 1041, 2), "2000:2002", "3000:3100"]),
        "a>b tcp:22, a>b tcp:1039, !a>b tcp:1002, a>b tcp:2002, !a>b tcp:2003, a>b tcp:3050",
    ),
    "first and last port": (tcp_to(ports=[1, "65534:65535"]), "a>b tcp:1, a>b tcp:65535, !a>b tcp:2, !a>b tcp:65533"),
    "destination not port": (
        tcp_to(notPorts=[80, "90:92"]),
        "!a>b tcp:80, a>b tcp:81, a>b tcp:89, !a>b tcp:91, a>b tcp:93, !a>b udp:81",
    ),
    "ports and not ports": (tcp_to(ports=["80:90"], notPorts=[85]), "a>b tcp:80, !a>b tcp:85, a>b tcp:86, !a>b tcp:91"),
    "source port": (
        allow(protocol="TCP", source={"ports": [555]}),
        "a>b tcp:555:80, !a>b tcp:556:80, !a>b tcp:1000:555",
    ),
    "source not port": (allow(protocol="UDP", source={"notPorts": ["500:600"]}), "!a>b udp:555:80, a>b udp:601:80"),
    "source and destination port": (
        allow(protocol="TCP", source={"ports": ["500:600"]}, destination={"ports": [80]}),
        "a>b tcp:501:80, !a>b tcp:502:81, !a>b tcp:601:80",
    ),
    "named port": (tcp_to(ports=["web"]), "a>b tcp:80, !a>b tcp:81, !a>c tcp:80, !a>b udp:80"),
    "named port of udp": (allow(protocol="UDP", destination={"ports": ["dns"]}), "a>b udp:53, !a>b udp:80"),
    "named port of sctp": (allow(protocol="SCTP", destination={"ports": ["sig"]}), "a>b sctp:9, !a>b sctp:80"),
    "named port of another protocol": (tcp_to(ports=["dns"]), "!a>b tcp:53, !a>b udp:53"),
    "named port nobody has": (tcp_to(ports=["nobody"]), "!a>b tcp:80"),
    "named or numeric port": (tcp_to(ports=["web", 8080]), "a>b tcp:80, a>b tcp:8080, a>c tcp:8080, !a>c tcp:80"),
    "numbers, ranges and names": (
        tcp_to(ports=["web", 8080, "9000:9010"]),
        "a>b tcp:80, !a>c tcp:80, a>c tcp:8080, a>c tcp:9005, !a>c tcp:9011, !a>b udp:8080",
    ),
    "not numbers, ranges and names": (
        tcp_to(notPorts=["web", 8080, "9000:9010"]),
        "!a>b tcp:80, a>c tcp:80, !a>c tcp:8080, !a>c tcp:9005, a>c tcp:9011",
    ),
    "names of any protocol": (to(ports=["web", "dns", "sig"]), "a>b tcp:80, a>b udp:53, a>b sctp:9, !a>b udp:80"),
    "not names of any protocol": (to(notPorts=["web", "dns"]), "!a>b tcp:80, !a>b udp:53, a>b udp:80, a>b icmp"),
    "ports of sctp": (
        allow(protocol="SCTP", destination={"ports": [9, "20:30", "sig"], "notPorts": [25]}),
        "a>b sctp:9, a>c sctp:9, a>b sctp:20, !a>b sctp:25, !a>b sctp:31, !a>b tcp:20",
    ),
    "source ports of sctp": (
        allow(protocol="SCTP", source={"ports": ["500:600"], "notPorts": [550]}),
        "a>b sctp:555:80, !a>b sctp:550:80, !a>b sctp:601:80",
    ),
    "source port of udp": (allow(protocol="UDP", source={"ports": [555]}), "a>b udp:555:80, !a>b udp:556:80"),
    "not named port": (tcp_to(notPorts=["web"]), "!a>b tcp:80, a>b tcp:81, a>c tcp:80"),
    "named port with a selector": (tcp_to(ports=["web"], selector="app == 'c'"), "!a>b tcp:80, !a>c tcp:80"),
    "source selector": (source(selector="app == 'a'"), "a>b tcp:80, a>b gre, !c>b tcp:80, !b>c tcp:80"),
    "destination selector": (to(selector="app == 'b'"), "a>b tcp:80, !a>c tcp:80"),
    "selector of all endpoints": (to(selector="all()"), "a>b tcp:80, a>c udp:1, a>b icmp"),
    "selector that matches nothing": (to(selector="app == 'nobody'"), "!a>b tcp:80, !a>c tcp:80"),
    "namespace selector": (
        to(namespaceSelector="projectcalico.org/name == 'other'"),
        "a>c tcp:80, !a>b tcp:80",
    ),
    "destination not selector": (to(notSelector="app == 'b'"), "!a>b tcp:80, a>c tcp:80"),
    "selector and not selector": (
        to(selector="app in {'b', 'c'}", notSelector="app == 'c'"),
        "a>b tcp:80, !a>c tcp:80",
    ),
    "source not selector": (source(notSelector="app == 'a'"), "!a>b tcp:80, c>b tcp:80"),
    "destination nets": (to(nets=["@b", "@x"]), "a>b tcp:80, !a>c tcp:80"),
    "source nets": (source(nets=["@a"]), "a>b tcp:80, a>b icmp, !c>b tcp:80"),
    "a net of two addresses": (to(nets=["@half"]), "a>b tcp:80, a>c tcp:80, !c>a tcp:80"),
    "the net of everything": (to(nets=["@all"]), "a>b tcp:80, a>c udp:80"),
    "destination not nets": (to(notNets=["@b"]), "!a>b tcp:80, a>c tcp:80"),
    "nets and not nets": (to(nets=["@pods"], notNets=["@b", "@x"]), "!a>b tcp:80, a>c tcp:80"),
    "source not nets": (source(notNets=["@a"]), "!a>b tcp:80, c>b tcp:80"),
    "selector and nets must both hold": (to(selector="app in {'b','c'}", nets=["@c"]), "!a>b tcp:80, a>c tcp:80"),
    "nets of the other family": (to(nets=["@other-family"]), "!a>b tcp:80, !a>b icmp"),
    "not nets of the other family": (to(notNets=["@other-family"]), "!a>b tcp:80, !a>b icmp"),
    "a deny whose nets are of the other family": (
        [{"action": "Deny", "destination": {"notNets": ["@other-family"]}}, allow()],
        "a>b tcp:80, a>b icmp",
    ),
    "several not nets": (to(notNets=["@b", "@x"]), "!a>b tcp:80, a>c tcp:80"),
    "ip version and protocol": (allow(ipVersion="@this", protocol="TCP"), "a>b tcp:80, !a>b udp:80"),
    "this ip version": (allow(ipVersion="@this"), "a>b tcp:80, a>b icmp"),
    "the other ip version": (allow(ipVersion="@that"), "!a>b tcp:80, !a>b icmp"),
    "icmp": (allow(protocol="@icmp"), "a>b icmp, a>b icmp:OTHER:0, !a>b tcp:80, !a>b udp:80"),
    "icmp of the other family": (allow(protocol="@other-icmp"), "!a>b icmp, !a>b tcp:80"),
    "icmp type": (allow(protocol="@icmp", icmp={"type": "@echo"}), "a>b icmp, !a>b icmp:OTHER:0, !a>b tcp:80"),
    "icmp type and code": (
        allow(protocol="@icmp", icmp={"type": "@other", "code": 3}),
        "a>b icmp:OTHER:3, !a>b icmp:OTHER:2, !a>b icmp",
    ),
    "not icmp type": (allow(protocol="@icmp", notICMP={"type": "@echo"}), "!a>b icmp, a>b icmp:OTHER:0, !a>b tcp:80"),
    "not icmp type and code": (
        allow(protocol="@icmp", notICMP={"type": "@other", "code": 3}),
        "!a>b icmp:OTHER:3, a>b icmp:OTHER:2, a>b icmp",
    ),
    "service account by name": (source(serviceAccounts={"names": ["robot"]}), "a>b tcp:80, !c>b tcp:80"),
    "service account by label": (source(serviceAccounts={"selector": "role == 'r'"}), "a>b tcp:80, !c>b tcp:80"),
    "service account and selector": (
        source(serviceAccounts={"names": ["robot"]}, selector="app == 'c'"),
        "!a>b tcp:80, !c>b tcp:80",
    ),
    "not namespaced": (to(namespaceSelector="global()"), "!a>b tcp:80, !a>c tcp:80"),
    "global network set": (to(selector="set == 'outside'"), "a>b tcp:80, !a>c tcp:80"),
    "namespaced network set": (
        to(selector="set == 'inside'", namespaceSelector="projectcalico.org/name == 'other'"),
        "a>c tcp:80, !a>b tcp:80",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_rule_matches(world: World, direction: str, family: int, case: str) -> None:
    rules, flows = CASES[case]
    documents = [guard(direction, *_concrete(world, family, rules if isinstance(rules, list) else [rules]))]
    if "network set" in case:
        documents.append(resource("GlobalNetworkSet", "s", {"nets": [world.net("b", family)]}, set="outside"))
        documents.append(resource("NetworkSet", "s", {"nets": [world.net("c", family)]}, "other", set="inside"))
    if "service account" in case:
        documents.append(resource("Profile", "ksa.default.robot", {"labelsToApply": {"pcsa.role": "r"}}))
        profiles = ["ksa.default.robot", "projectcalico-default-allow"]
        documents.append(world.endpoint("a", profiles=profiles, serviceAccountName="robot"))
    if "amespace" in case:
        labels = {"labelsToApply": {"pcns.projectcalico.org/name": "other"}}
        documents.append(resource("Profile", "kns.other", labels))
        documents.append(world.endpoint("c", profiles=["kns.other", "projectcalico-default-allow"]))
    world.apply(*documents)
    world.expect(family, *flows.replace("OTHER", "13" if family == 4 else "139").split(", "))


def test_outside_addresses_match_nets_and_sets_but_no_selector_of_endpoints(world: World, family: int) -> None:
    world.apply(
        guard(
            "ingress",
            allow(protocol="TCP", source={"nets": [world.net("x", family)]}),
            allow(protocol="UDP", source={"selector": "set == 'x2'"}),
            allow(protocol="SCTP", source={"selector": "all()"}),
            allow(protocol=47, source={"notSelector": "app == 'a'"}),
        ),
        resource("GlobalNetworkSet", "x2", {"nets": [world.net("x2", family)]}, set="x2"),
    )
    sent = [("x", "a", world.packet(flow, family)) for flow in
            ("x>a tcp:80", "x2>a tcp:80", "x>a udp:80", "x2>a udp:80", "x>a sctp:80", "x>a gre")]  # fmt: skip
    assert world.passed(*sent, expected=3) == [True, False, False, True, False, True]


def test_a_rule_for_what_is_in_no_namespace_matches_global_sets_only(world: World, family: int) -> None:
    nets = {"nets": [world.net("x", family), world.net("c", family)]}
    world.apply(
        guard("ingress", allow(source={"namespaceSelector": "global()"})),
        resource("GlobalNetworkSet", "everywhere", {"nets": [world.net("x", family)]}),
        resource("NetworkSet", "here", nets, "default"),
    )
    sent = [(s[0], "a", world.packet(f"{s}>a tcp:80", family)) for s in ("x", "x2", "b", "c")]
    assert world.passed(*sent, expected=1) == [True, False, False, False]


HTTP = {"http": {"methods": ["GET"], "paths": [{"prefix": "/"}]}}


def test_a_rule_that_allows_http_allows_nothing_and_is_named(world: World, family: int) -> None:
    """A packet filter does not see methods and paths, so it would have to allow too much."""
    world.apply(guard("ingress", allow(protocol="TCP", **HTTP), allow(**HTTP), allow(protocol="UDP")))
    world.expect(family, "!a>b tcp:80", "!a>b tcp:8080", "!c>b tcp:80", "a>b udp:80")
    assert "http" in world.conditions("resource-invalid")["GlobalNetworkPolicy guard"]


@pytest.mark.parametrize(
    ("where", "action"),
    [
        ("ingress", "Deny"),
        ("ingress", "Pass"),
        ("ingress", "Log"),
        ("egress", "Allow"),
        ("egress", "Deny"),
        ("egress", "Pass"),
        ("egress", "Log"),
    ],
)
def test_a_rule_with_http_where_it_cannot_be_closes_the_whole_direction(
    world: World, family: int, where: str, action: str
) -> None:
    """As somebody may have stored it: the store itself would refuse it."""
    policy = guard(where, {"action": action, "protocol": "TCP", **HTTP}, allow())
    world.put_raw({"globalnetworkpolicies/guard": json.dumps(policy)})
    free = "a>d tcp:80" if where == "ingress" else "d>a udp:9"
    world.expect(family, "!a>b tcp:80", "!a>b udp:80", "!a>b icmp", free)
    assert "http" in world.conditions("resource-invalid")["GlobalNetworkPolicy guard"]
    with pytest.raises(AssertionError, match="http"):
        world.apply(policy)


def test_a_service_that_nobody_tells_matches_nothing_and_is_named(world: World, family: int) -> None:
    service = {"services": {"name": "web", "namespace": "default"}}
    spec = {
        "selector": "app in {'a', 'b'}",
        "types": ["Ingress", "Egress"],
        "ingress": [allow(source=service)],
        "egress": [allow(destination=service), allow(protocol="UDP")],
    }
    world.apply(resource("GlobalNetworkPolicy", "guard", spec))
    world.expect(family, "!a>b tcp:80", "!c>b tcp:80", "!a>c tcp:80", "a>c udp:80", "!a>b udp:80")
    said = world.conditions("resource-invalid")["GlobalNetworkPolicy guard"]
    assert "spec.ingress[0].source.services" in said
    assert "spec.egress[0].destination.services" in said


def test_an_address_that_several_bring_stays_a_member_until_the_last_one_leaves(world: World, family: int) -> None:
    shared = [world.net("a", 4), world.net("a", 6)]
    world.apply(
        guard("ingress", allow(source={"selector": "role == 'client'"}), selector="app == 'b'"),
        world.endpoint("a", labels={"role": "client"}),
        resource("NetworkSet", "t", {"nets": shared}, "default", role="client"),
        resource("GlobalNetworkSet", "s", {"nets": shared}, role="client"),
    )
    world.expect(family, "a>b tcp:80", "!c>b tcp:80")
    world.apply(world.endpoint("a"))
    world.expect(family, "a>b tcp:80")
    world.delete("NetworkSet", "t", "default")
    world.expect(family, "a>b tcp:80")
    world.delete("GlobalNetworkSet", "s")
    world.expect(family, "!a>b tcp:80")


def test_labels_that_only_a_namespace_or_account_gives_cannot_be_taken(world: World, family: int) -> None:
    forged = {
        "pcns.team": "blue",
        "pcsa.role": "admin",
        "projectcalico.org/namespace": "other",
        "projectcalico.org/serviceaccount": "root",
    }
    thief = world.endpoint("d", serviceAccountName="robot")
    thief["metadata"]["labels"] |= forged
    # Addresses of the thief's neighbour, in a set that says whatever it likes.
    stolen = resource("GlobalNetworkSet", "s", {"nets": [world.net("a", family)]}, **forged)
    world.put_raw(
        {"workloadendpoints/default/h1-cni-d-eth0": json.dumps(thief), "globalnetworksets/s": json.dumps(stolen)}
    )
    for entity in (
        {"namespaceSelector": "team == 'blue'"},
        {"selector": "projectcalico.org/namespace == 'other'"},
        {"serviceAccounts": {"names": ["root"]}},
        {"serviceAccounts": {"selector": "role == 'admin'"}},
    ):
        world.apply(guard("ingress", allow(source=entity), selector="app == 'b'"))
        others = ["c>b tcp:80"] if "selector" in entity else []
        world.expect(family, "!d>b tcp:80", "!a>b tcp:80", *others)


def _concrete(world: World, family: int, rules: Any) -> Any:
    """The rules with what depends on the family filled in."""
    pods = "10.65.0.0/16" if family == 4 else "fd00:65::/64"
    values: dict[str, Any] = {
        **{f"@{name}": world.net(name, family) for name in "abcdx"},
        "@pods": pods,
        "@half": "10.65.0.2/31" if family == 4 else "fd00:65::2/127",  # those of b and c
        "@all": "0.0.0.0/0" if family == 4 else "::/0",
        "@this": family,
        "@that": 10 - family,
        "@icmp": "ICMP" if family == 4 else "ICMPv6",
        "@other-icmp": "ICMPv6" if family == 4 else "ICMP",
        "@small-icmp": "icmp" if family == 4 else "icmpv6",
        "@icmp-number": 1 if family == 4 else 58,
        "@other-icmp-number": 58 if family == 4 else 1,
        "@other-family": "fd00:65::/64" if family == 4 else "10.65.0.0/16",
        "@other": 13 if family == 4 else 139,  # requests besides echo that conntrack knows
        "@echo": 8 if family == 4 else 128,
    }

    def walk(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: walk(value) for key, value in item.items()}
        if isinstance(item, list):
            return [walk(value) for value in item]
        return values.get(item, item) if isinstance(item, str) else item

    return walk(rules)
