from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from calico.calc.compile_rules import DENY_ALL, CompiledRules, compile_rules
from calico.calc.messages import ActiveRule, RuleSide
from calico.lib.packed import net
from calico.model.policy import (
    EntityRule,
    HTTPMatch,
    ICMPFields,
    Rule,
    RuleMetadata,
    ServiceAccountMatch,
    ServiceMatch,
)
from calico.model.selector import parse


def compiled(rule: Rule, namespace: str = "", direction: Any = "ingress") -> CompiledRules:
    return compile_rules([rule], namespace, direction)


def only(rule: Rule, namespace: str = "") -> ActiveRule:
    result = compiled(rule, namespace)
    assert result.problems == ()
    (active,) = result.rules
    return active


def only_known(rule: Rule) -> ActiveRule:
    """With somebody who tells services."""
    result = compile_rules([rule], "", "ingress", services_known=True)
    assert result.problems == ()
    return result.rules[0]


def test_an_empty_rule_matches_everything() -> None:
    assert only(Rule(action="Allow")) == ActiveRule(action="allow")


@pytest.mark.parametrize("action", ["Allow", "Deny", "Pass", "Log"])
def test_actions_are_lower_case(action: str) -> None:
    assert only(Rule(action=action)).action == action.lower()


def test_protocols_become_numbers() -> None:
    rule = only(Rule(action="Allow", protocol="TCP", not_protocol=17))
    assert (rule.protocol, rule.not_protocol) == (6, 17)


def test_numeric_ports_and_ranges_are_merged() -> None:
    rule = only(
        Rule(action="Allow", protocol="TCP", destination=EntityRule(ports=(443, 80, "81:90", "85:95", "443:443")))
    )
    assert rule.dst.ports == ((80, 95), (443, 443))


def test_port_names_become_sets_of_the_matching_protocol() -> None:
    result = compiled(Rule(action="Allow", protocol="UDP", destination=EntityRule(ports=("dns",))))
    (spec,) = result.sets
    assert (spec.kind, spec.protocol, spec.port) == ("ports", 17, "dns")
    assert spec.selector == parse("all()")
    assert result.rules[0].dst.named_ports == (spec.id,)


def test_port_names_with_a_selector_are_those_of_the_selected() -> None:
    result = compiled(Rule(action="Allow", protocol="TCP", source=EntityRule(selector="a == 'x'", not_ports=("web",))))
    selector = parse("a == 'x'")
    assert {spec.selector for spec in result.sets if spec.kind == "ports"} == {selector}
    assert result.rules[0].src.ip_sets == (selector.uid,)


def test_a_list_of_names_only_may_leave_the_protocol_open() -> None:
    (spec,) = compiled(Rule(action="Allow", destination=EntityRule(ports=("web",)))).sets
    assert spec.protocol is None


def test_nets_are_masked_and_limit_the_rule_to_their_family() -> None:
    rule = only(Rule(action="Allow", source=EntityRule(nets=("10.0.0.7/8", "192.0.2.1"))))
    assert rule.ip_version == 4
    assert rule.src.nets == (net("10.0.0.0/8"), net("192.0.2.1/32"))


def test_a_rule_with_nets_of_both_families_becomes_one_rule_for_each() -> None:
    result = compiled(Rule(action="Allow", source=EntityRule(nets=("10.0.0.0/8", "fd00::/8"))))
    assert [(rule.ip_version, rule.src.nets) for rule in result.rules] == [
        (4, (net("10.0.0.0/8"),)),
        (6, (net("fd00::/8"),)),
    ]


def test_nets_that_are_not_meant_limit_the_rule_to_their_family_too() -> None:
    rule = only(Rule(action="Deny", source=EntityRule(not_nets=("10.0.0.0/8",))))
    assert rule == ActiveRule(action="deny", ip_version=4, src=RuleSide(not_nets=(net("10.0.0.0/8"),)))


def test_a_rule_with_nets_of_both_families_that_are_not_meant_becomes_one_rule_for_each() -> None:
    result = compiled(Rule(action="Deny", destination=EntityRule(not_nets=("10.0.0.0/8", "fd00::/8"))))
    assert [(rule.ip_version, rule.dst.not_nets) for rule in result.rules] == [
        (4, (net("10.0.0.0/8"),)),
        (6, (net("fd00::/8"),)),
    ]


@pytest.mark.parametrize("version", [4, 6])
def test_a_rule_for_one_family_is_for_no_other(version: Any) -> None:
    assert only(Rule(action="Allow", ip_version=version)) == ActiveRule(action="allow", ip_version=version)


@pytest.mark.parametrize(
    "rule",
    [
        Rule(action="Allow", ip_version=6, source=EntityRule(nets=("10.0.0.0/8",))),
        Rule(action="Allow", ip_version=6, source=EntityRule(not_nets=("10.0.0.0/8",))),
        Rule(action="Allow", source=EntityRule(nets=("10.0.0.0/8",)), destination=EntityRule(nets=("fd00::/8",))),
        Rule(action="Deny", source=EntityRule(not_nets=("0.0.0.0/0",))),
    ],
)
def test_a_rule_whose_nets_leave_no_family_disappears(rule: Rule) -> None:
    assert compiled(rule) == CompiledRules()


def test_a_catch_all_net_limits_the_family_only() -> None:
    assert only(Rule(action="Allow", source=EntityRule(nets=("0.0.0.0/0", "10.0.0.0/8")))) == ActiveRule(
        action="allow", ip_version=4
    )


def test_a_namespaced_rule_with_only_nets_is_not_limited_to_the_namespace() -> None:
    assert only(Rule(action="Allow", source=EntityRule(nets=("10.0.0.0/8",))), "red").src.ip_sets == ()


def test_a_namespaced_rule_with_only_a_not_selector_is_limited_to_the_namespace() -> None:
    (spec,) = compiled(Rule(action="Allow", source=EntityRule(not_selector="a == 'x'")), "red").sets
    assert spec.selector is not None
    assert spec.selector.matches({"projectcalico.org/namespace": "red"})
    assert not spec.selector.matches({"projectcalico.org/namespace": "red", "a": "x"})
    assert not spec.selector.matches({"projectcalico.org/namespace": "blue"})


def test_a_global_not_selector_alone_is_a_negative_match() -> None:
    result = compiled(Rule(action="Allow", source=EntityRule(not_selector="a == 'x'")))
    (spec,) = result.sets
    assert (spec.kind, spec.selector) == ("nets", parse("a == 'x'"))
    assert result.rules[0].src == RuleSide(not_ip_sets=(spec.id,))


def test_a_namespaced_rule_may_mean_only_what_is_in_no_namespace() -> None:
    (spec,) = compiled(Rule(action="Allow", source=EntityRule(namespace_selector="global()")), "red").sets
    assert spec.selector is not None
    assert spec.selector.matches({"a": "x"})
    assert not spec.selector.matches({"projectcalico.org/namespace": "red"})


def name_of_set(kind: str, content: str) -> str:
    """As the data model makes one (§13)."""
    digest = hashlib.sha224(f"{kind}:{content}".encode()).digest()
    return f"{kind}:{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
def test_a_set_of_named_ports_has_the_name_of_its_selector_protocol_and_port(protocol: str) -> None:
    side = EntityRule(selector="has(a)", ports=("web",))
    (called,) = only(Rule(action="Allow", protocol=protocol.upper(), destination=side)).dst.named_ports
    assert called == name_of_set("n", f"{name_of_set('s', 'has(a)')},{protocol},web")


def test_a_set_of_a_service_has_its_name_and_tells_whether_ports_count() -> None:
    service = EntityRule(services=ServiceMatch(name="web", namespace="red"))
    rule = only_known(Rule(action="Allow", source=service, destination=service))
    assert rule.src.ip_sets == (name_of_set("svcnoport", "red/web"),)
    assert rule.dst.named_ports == (name_of_set("svc", "red/web"),)


def test_icmp_type_and_code_are_kept_for_both_matches() -> None:
    fields = {"icmp": ICMPFields(type=3, code=4), "not_icmp": ICMPFields(type=8)}
    rule = only(Rule(action="Deny", protocol="ICMP", **fields))
    assert (rule.icmp, rule.not_icmp) == ((3, 4), (8, None))


@pytest.mark.parametrize(("protocol", "number"), [("ICMP", 1), ("ICMPv6", 58)])
def test_icmp_of_both_families_has_types_and_an_empty_match_means_all_of_them(protocol: str, number: int) -> None:
    rule = only(Rule(action="Allow", protocol=protocol, icmp=ICMPFields(type=129)))
    assert (rule.protocol, rule.icmp) == (number, (129, None))
    assert only(Rule(action="Allow", protocol=protocol, icmp=ICMPFields())) == ActiveRule(
        action="allow", protocol=number
    )


WEB = EntityRule(services=ServiceMatch(name="web"))


def test_a_service_as_destination_is_a_set_of_its_address_ports() -> None:
    result = compiled(Rule(action="Allow", destination=WEB), "red", "egress")
    (spec,) = result.sets
    assert (spec.kind, spec.selector, spec.service) == ("ports", None, ("red", "web"))
    assert result.rules[0].dst == RuleSide(named_ports=(spec.id,))


def test_a_service_as_source_is_a_set_of_its_addresses() -> None:
    result = compiled(Rule(action="Allow", source=WEB), "red")
    (spec,) = result.sets
    assert (spec.kind, spec.selector, spec.service) == ("nets", None, ("red", "web"))
    assert result.rules[0].src == RuleSide(ip_sets=(spec.id,))


def test_services_are_reported_while_nobody_tells_them() -> None:
    for direction, rule, field in (
        ("egress", Rule(action="Allow", destination=WEB), "destination.services"),
        ("ingress", Rule(action="Allow", source=WEB), "source.services"),
    ):
        assert compiled(rule, "red", direction).problems[0].startswith(f"spec.{direction}[0].{field}: ")
    assert compile_rules([rule], "red", "egress", services_known=True).problems == ()
    assert compiled(Rule(action="Allow")).problems == ()


def test_only_a_destination_that_is_a_service_has_no_ports_besides() -> None:
    side = EntityRule(services=ServiceMatch(name="web", namespace="red"), ports=(80,))
    rule = only_known(Rule(action="Allow", protocol="TCP", source=side))
    assert (rule.src.ports, len(rule.src.ip_sets)) == (((80, 80),), 1)


def test_a_service_of_another_namespace_is_another_set() -> None:
    other = EntityRule(services=ServiceMatch(name="web", namespace="blue"))
    (here,), (there,) = (compiled(Rule(action="Allow", source=side), "red").sets for side in (WEB, other))
    assert here.id != there.id


def test_an_http_match_allows_nothing_and_is_reported() -> None:
    rules = [Rule(action="Allow", http=HTTPMatch(methods=("GET",))), Rule(action="Allow", protocol="TCP")]
    result = compile_rules(rules, "", "ingress")
    assert result.rules == (ActiveRule(action="allow", protocol=6),)
    assert result.problems[0].startswith("spec.ingress[0].http: ")


def test_an_http_match_in_an_egress_rule_denies_the_direction() -> None:
    result = compile_rules([Rule(action="Allow", http=HTTPMatch()), Rule(action="Allow")], "", "egress")
    assert result.rules == DENY_ALL
    assert result.problems[0].startswith("spec.egress[0].http: ")


def test_annotations_become_a_comment() -> None:
    rule = only(Rule(action="Allow", metadata=RuleMetadata(annotations={"b": "2", "a": "1"})))
    assert rule.comment == "a=1; b=2"


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        (Rule(action="Perhaps"), "action"),
        (Rule(action="Allow", ip_version=5), "ipVersion"),
        (Rule(action="Allow", protocol="carrier-pigeon"), "protocol"),
        (Rule(action="Allow", not_protocol=256), "notProtocol"),
        (Rule(action="Allow", source=EntityRule(nets=("10.0.0.0/8", "10.0.0.0/33"))), "source.nets[1]"),
        (Rule(action="Allow", destination=EntityRule(not_nets=("x",))), "destination.notNets[0]"),
        (Rule(action="Allow", source=EntityRule(selector="a ==")), "source.selector"),
        (Rule(action="Allow", source=EntityRule(selector="a == 'x') || (has(b)")), "source.selector"),
        (Rule(action="Allow", source=EntityRule(selector="global()")), "source.selector"),
        (Rule(action="Allow", source=EntityRule(not_selector="((")), "source.notSelector"),
        (
            Rule(action="Allow", source=EntityRule(namespace_selector="has(a) || global()")),
            "source.namespaceSelector",
        ),
        (Rule(action="Allow", destination=EntityRule(ports=(80,))), "destination.ports[0]"),
        (Rule(action="Allow", protocol="ICMP", destination=EntityRule(ports=("web",))), "destination.ports[0]"),
        (Rule(action="Allow", protocol="TCP", source=EntityRule(not_ports=(1, 0))), "source.notPorts[1]"),
        (Rule(action="Allow", protocol="TCP", source=EntityRule(ports=("9:1",))), "source.ports[0]"),
        (Rule(action="Allow", icmp=ICMPFields(type=8)), "icmp"),
        (Rule(action="Allow", protocol="ICMP", icmp=ICMPFields(code=1)), "icmp.code"),
        (Rule(action="Allow", protocol="ICMP", not_icmp=ICMPFields(type=255)), "notICMP.type"),
        (Rule(action="Deny", http=HTTPMatch(methods=("GET",))), "http"),
        (Rule(action="Pass", http=HTTPMatch()), "http"),
        (Rule(action="Log", http=HTTPMatch()), "http"),
        (Rule(action="Allow", source=WEB), "source.services.namespace"),
        (
            Rule(action="Allow", destination=EntityRule(services=ServiceMatch(namespace="red"))),
            "destination.services.name",
        ),
        (
            Rule(
                action="Allow",
                protocol="TCP",
                destination=EntityRule(services=ServiceMatch(name="web", namespace="red"), ports=(80,)),
            ),
            "destination.ports",
        ),
    ],
)
def test_a_malformed_rule_turns_its_direction_into_a_deny_that_names_the_field(rule: Rule, field: str) -> None:
    result = compile_rules([Rule(action="Allow"), rule], "", "ingress")
    assert result.rules == DENY_ALL
    assert result.sets == ()
    assert result.problems[0].startswith(f"spec.ingress[1].{field}: ")


def test_ports_that_do_not_touch_stay_apart() -> None:
    rule = only(Rule(action="Allow", protocol="TCP", destination=EntityRule(ports=(80, 82, 8100, "8102:8200"))))
    assert rule.dst.ports == ((80, 80), (82, 82), (8100, 8100), (8102, 8200))


def test_a_name_of_a_port_is_another_set_for_each_protocol_selector_and_name() -> None:
    ids = set()
    for protocol in (None, "TCP", "UDP", "SCTP"):
        for selector in ("", "a == 'x'"):
            for port in ("web", "dns"):
                side = EntityRule(selector=selector, ports=(port,))
                found = compiled(Rule(action="Allow", protocol=protocol, destination=side))
                ids |= {spec.id for spec in found.sets if spec.kind == "ports"}
    assert len(ids) == 16


def test_what_is_compiled_is_the_same_in_whatever_order_nets_and_names_stand() -> None:
    nets, names = tuple(f"10.{n}.0.0/16" for n in range(20)), tuple(f"port{n}" for n in range(20))
    one = compiled(Rule(action="Allow", protocol="TCP", source=EntityRule(nets=nets, ports=names)))
    other = compiled(Rule(action="Allow", protocol="TCP", source=EntityRule(nets=nets[::-1], ports=names[::-1])))
    assert one.rules == other.rules
    assert list(one.rules[0].src.nets) == sorted(one.rules[0].src.nets)
    assert list(one.rules[0].src.named_ports) == sorted(one.rules[0].src.named_ports)


@pytest.mark.parametrize(("kind", "code"), [(0, None), (0, 0), (254, 255), (8, 0)])
def test_every_icmp_type_and_code_that_there_is_may_be_matched(kind: int, code: int | None) -> None:
    assert only(Rule(action="Allow", protocol="ICMP", icmp=ICMPFields(type=kind, code=code))).icmp == (kind, code)


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        (Rule(action="Allow", protocol="ICMP", icmp=ICMPFields(type=-1)), "icmp.type"),
        (Rule(action="Allow", protocol="ICMP", icmp=ICMPFields(type=8, code=256)), "icmp.code"),
        (Rule(action="Allow", protocol="ICMP", icmp=ICMPFields(type=8, code=-1)), "icmp.code"),
        (
            Rule(action="Allow", source=EntityRule(service_accounts=ServiceAccountMatch(selector="a) || (b"))),
            "source.serviceAccounts.selector",
        ),
        (
            Rule(action="Allow", source=EntityRule(service_accounts=ServiceAccountMatch(names=("a'b",)))),
            "source.serviceAccounts.names",
        ),
    ],
)
def test_codes_types_and_accounts_are_looked_at_too(rule: Rule, field: str) -> None:
    result = compiled(rule)
    assert result.rules == DENY_ALL
    assert result.problems[0].startswith(f"spec.ingress[0].{field}: ")


def test_http_is_refused_in_rules_for_egress() -> None:
    rule = Rule(action="Allow", http=HTTPMatch(methods=("GET",)))
    assert compiled(rule, direction="egress").rules == DENY_ALL
    assert compiled(rule, direction="ingress").rules == ()


def test_a_service_as_source_and_as_destination_are_two_sets() -> None:
    service = ServiceMatch(name="web", namespace="red")
    rule = Rule(action="Allow", source=EntityRule(services=service), destination=EntityRule(services=service))
    assert len(compiled(rule).sets) == 2


def test_only_sets_that_a_rule_refers_to_are_needed() -> None:
    nothing = Rule(action="Allow", source=EntityRule(nets=("10.0.0.0/8",)), destination=EntityRule(nets=("fd00::/8",)))
    assert compiled(nothing).sets == ()
    selecting = EntityRule(nets=("10.0.0.0/8",), selector="a == 'x'")
    gone = Rule(action="Allow", source=selecting, destination=EntityRule(nets=("fd00::/8",)))
    assert compiled(gone) == CompiledRules()
