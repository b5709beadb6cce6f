"""Every match of a rule, in both directions and families, judged by packets on a running host."""

from __future__ import annotations

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
