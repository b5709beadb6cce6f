"""Rules of policies and profiles (spec §16.5)."""

from __future__ import annotations

from typing import Literal

from calico.errors import InvalidInput
from calico.model.numorstring import PortRange, parse_port, parse_protocol, protocol_number, supports_ports
from calico.model.policy import EntityRule, HTTPMatch, ICMPFields, Rule
from calico.model.validation import syntax
from calico.model.validation.report import Report

__all__ = ["check_entity", "check_http", "check_icmp", "check_protocol", "check_rule", "check_rules"]

MOST_RULES, MOST_NETS, MOST_PORTS, MOST_HTTP = 1024, 256, 50, 20
LONGEST_PATH = 1024
ACTIONS = ("Allow", "Deny", "Log", "Pass")
_ICMP, _ICMP_V6 = 1, 58
_FAMILY_OF_ICMP = {_ICMP: 4, _ICMP_V6: 6}

Direction = Literal["ingress", "egress"]


def check_rules(report: Report, rules: tuple[Rule, ...], direction: Direction, *, of_global: bool = False) -> None:
    """Check all rules of a direction; ``of_global``: services need a namespace, as no policy namespace is implied."""
    report.at_most(MOST_RULES, rules, f"spec.{direction}")
    for index, rule in enumerate(rules):
        where = f"spec.{direction}[{index}]"
        check_rule(report, where, rule)
        _check_direction(report, where, rule, direction)
        for side, entity in (("source", rule.source), ("destination", rule.destination)):
            if of_global and entity.services is not None and not entity.services.namespace:
                report.error(f"{where}.{side}.services.namespace", None, "is required in a GlobalNetworkPolicy")


def _check_direction(report: Report, where: str, rule: Rule, direction: Direction) -> None:
    """Services name the far end of the traffic; HTTP is matched where it arrives."""
    near = "destination" if direction == "ingress" else "source"
    entity = rule.destination if direction == "ingress" else rule.source
    report.check(entity.services is None, f"{where}.{near}.services", None, f"is not allowed in {direction} rules")
    report.check(rule.http is None or direction == "ingress", f"{where}.http", None, "is allowed in ingress rules only")


def check_rule(report: Report, where: str, rule: Rule) -> None:
    """Check what does not depend on where the rule is used."""
    report.check(rule.action in ACTIONS, f"{where}.action", rule.action, f"must be one of {', '.join(ACTIONS)}")
    report.check(rule.ip_version in (None, 4, 6), f"{where}.ipVersion", rule.ip_version, "must be 4 or 6")
    check_protocol(report, f"{where}.protocol", rule.protocol)
    check_protocol(report, f"{where}.notProtocol", rule.not_protocol)
    _check_icmp_family(report, where, rule)
    for name, fields in (("icmp", rule.icmp), ("notICMP", rule.not_icmp)):
        if fields is not None:
            check_icmp(report, f"{where}.{name}", fields)
            if _number(rule.protocol) not in _FAMILY_OF_ICMP:
                report.error(f"{where}.{name}", rule.protocol, "needs protocol ICMP or ICMPv6")
    if rule.http is not None:
        report.check(rule.action == "Allow", f"{where}.http", rule.action, "is allowed in Allow rules only")
        if rule.protocol is not None and _number(rule.protocol) != 6:
            report.error(f"{where}.http", rule.protocol, "needs protocol TCP or none")
        check_http(report, f"{where}.http", rule.http)
    check_entity(report, f"{where}.source", rule.source)
    check_entity(report, f"{where}.destination", rule.destination)
    services = rule.destination.services
    if services is not None and (rule.destination.ports or rule.destination.not_ports):
        report.error(f"{where}.destination.ports", None, "and notPorts are not allowed together with services")
    _check_port_protocol(report, where, rule)
    _check_families(report, where, rule)


def check_protocol(report: Report, where: str, raw: int | str | None) -> None:
    """Check a protocol: 1-255 or a known name."""
    report.means(protocol_number, where, raw)
    if raw is not None and _number(raw) == 0:
        report.error(where, raw, "must be within 1-255 or a name")


def _number(raw: int | str | None) -> int | None:
    try:
        return None if raw is None else protocol_number(raw)
    except InvalidInput:
        return None


def _check_icmp_family(report: Report, where: str, rule: Rule) -> None:
    for protocol in (rule.protocol, rule.not_protocol):
        family = _FAMILY_OF_ICMP.get(_number(protocol) or 0)
        if family is not None and rule.ip_version not in (None, family):
            report.error(f"{where}.ipVersion", rule.ip_version, f"must be {family} with protocol {protocol}")


def check_icmp(report: Report, where: str, fields: ICMPFields) -> None:
    """Check ICMP type (0-254) and code (0-255); a code needs a type."""
    report.within(0, 254, f"{where}.type", fields.type)
    report.within(0, 255, f"{where}.code", fields.code)
    if fields.code is not None and fields.type is None:
        report.error(f"{where}.code", fields.code, "needs a type")


def check_http(report: Report, where: str, http: HTTPMatch) -> None:
    """Check methods and paths."""
    report.at_most(MOST_HTTP, http.methods, f"{where}.methods")
    report.at_most(MOST_HTTP, http.paths, f"{where}.paths")
    report.distinct(http.methods, f"{where}.methods")
    for index, path in enumerate(http.paths):
        here = f"{where}.paths[{index}]"
        report.check(bool(path.exact) != bool(path.prefix), here, None, "needs exactly one of exact and prefix")
        for name, text in (("exact", path.exact), ("prefix", path.prefix)):
            sound = text.startswith("/") and not set(text) & set(" ?#")
            report.check(sound or not text, f"{here}.{name}", text, "must begin with / and hold no space, ? or #")
            report.longest(LONGEST_PATH, f"{here}.{name}", text)


def check_entity(report: Report, where: str, entity: EntityRule) -> None:
    """Check one side of a rule on its own."""
    report.parses(syntax.selector, f"{where}.selector", entity.selector)
    report.parses(syntax.selector, f"{where}.notSelector", entity.not_selector)
    report.parses(syntax.namespace_selector, f"{where}.namespaceSelector", entity.namespace_selector)
    for name, nets in (("nets", entity.nets), ("notNets", entity.not_nets)):
        report.at_most(MOST_NETS, nets, f"{where}.{name}")
        report.distinct(nets, f"{where}.{name}")
        for index, text in enumerate(nets):
            _check_net(report, f"{where}.{name}[{index}]", text, may_be_everything=name == "nets")
    for name, ports in (("ports", entity.ports), ("notPorts", entity.not_ports)):
        report.at_most(MOST_PORTS, ports, f"{where}.{name}")
        for index, port in enumerate(ports):
            _check_port(report, f"{where}.{name}[{index}]", port)
    if (accounts := entity.service_accounts) is not None:
        report.parses(syntax.selector, f"{where}.serviceAccounts.selector", accounts.selector)
        report.distinct(accounts.names, f"{where}.serviceAccounts.names")
        for index, account in enumerate(accounts.names):
            report.means(syntax.name, f"{where}.serviceAccounts.names[{index}]", account)
    if entity.services is not None:
        _check_services(report, where, entity)


def _check_net(report: Report, where: str, text: str, *, may_be_everything: bool) -> None:
    try:
        parsed = syntax.net(text)
    except InvalidInput as refused:
        report.error(where, text, refused.message)
        return
    report.check("/" in text, where, text, f"must be a CIDR; did you mean {parsed}?")
    report.check(parsed.prefixlen or may_be_everything, where, text, "must not be everything, the rule never matches")


def _check_port(report: Report, where: str, raw: int | str) -> None:
    report.means(parse_port, where, raw)
    try:
        port = parse_port(raw)
    except InvalidInput:
        return
    report.check(not isinstance(port, PortRange) or port.first > 0, where, raw, "ports begin at 1")


def _check_services(report: Report, where: str, entity: EntityRule) -> None:
    assert entity.services is not None
    report.check(entity.services.name, f"{where}.services.name", None, "is required")
    report.parses(syntax.name, f"{where}.services.name", entity.services.name)
    report.parses(syntax.name, f"{where}.services.namespace", entity.services.namespace)
    others = {
        "selector": entity.selector,
        "notSelector": entity.not_selector,
        "namespaceSelector": entity.namespace_selector,
        "nets": entity.nets,
        "notNets": entity.not_nets,
        "serviceAccounts": entity.service_accounts is not None,
    }
    for name, given in others.items():
        report.check(not given, f"{where}.{name}", None, "is not allowed together with services")


def _check_port_protocol(report: Report, where: str, rule: Rule) -> None:
    """Port numbers mean nothing without a protocol that has ports; names carry their protocol with them."""
    for side, entity in (("source", rule.source), ("destination", rule.destination)):
        for name, ports in (("ports", entity.ports), ("notPorts", entity.not_ports)):
            if not ports or (rule.protocol is None and all(map(_is_named, ports))):
                continue
            if rule.protocol is None or not _has_ports(rule.protocol):
                report.error(f"{where}.{side}.{name}", rule.protocol, "needs protocol TCP, UDP or SCTP")


def _has_ports(protocol: int | str) -> bool:
    try:
        return supports_ports(parse_protocol(protocol))
    except InvalidInput:
        return True  # reported as a protocol already


def _is_named(raw: int | str) -> bool:
    try:
        return isinstance(parse_port(raw), str)
    except InvalidInput:
        return True  # reported as a port already


def _check_families(report: Report, where: str, rule: Rule) -> None:
    """All nets of a rule are of one family, that of ``ipVersion`` when given."""
    family = rule.ip_version
    for side, entity in (("source", rule.source), ("destination", rule.destination)):
        for name, nets in (("nets", entity.nets), ("notNets", entity.not_nets)):
            for index, text in enumerate(nets):
                version = 6 if ":" in text else 4
                family = family or version
                if version != family:
                    report.error(
                        f"{where}.{side}.{name}[{index}]", text, f"must be IPv{family} as the rest of the rule"
                    )
