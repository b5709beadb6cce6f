"""Whether a stored value can be interpreted at all: much weaker than validation, which judges what people write.

A rule that cannot be interpreted must not be skipped (a skipped Deny admits traffic), so its policy fails closed.
"""

from __future__ import annotations

from calico.errors import InvalidInput
from calico.lib import packed
from calico.model.effective import entity_selector
from calico.model.numorstring import parse_port, protocol_number
from calico.model.policy import EntityRule, ICMPFields, Rule

__all__ = ["net_fault", "rule_fault"]

ACTIONS = ("Allow", "Deny", "Log", "Pass")


def net_fault(net: str) -> str:
    """Why the text is no address or CIDR (host bits allowed), or empty."""
    length = net.partition("/")[2]
    try:
        packed.net(net)
    except ValueError:
        return f"{net[:64]!r} is no address or CIDR"
    if ("/" in net and not (length.isascii() and length.isdigit())) or "%" in net:
        return f"{net[:64]!r} is no address or CIDR"
    return ""


def rule_fault(rule: Rule) -> str:
    """Why the rule cannot be interpreted (``source.nets: ...``), or empty."""
    if rule.action not in ACTIONS:
        return f"action: unknown action {rule.action[:64]!r}"
    if rule.ip_version not in (None, 4, 6):
        return f"ipVersion: {rule.ip_version} is neither 4 nor 6"
    try:
        for protocol in (rule.protocol, rule.not_protocol):
            if protocol is not None:
                protocol_number(protocol)
    except InvalidInput as error:
        return f"protocol: {error.message[:200]}"
    return (
        _icmp_fault("icmp", rule.icmp)
        or _icmp_fault("notICMP", rule.not_icmp)
        or _entity_fault("source", rule.source)
        or _entity_fault("destination", rule.destination)
    )


def _icmp_fault(name: str, fields: ICMPFields | None) -> str:
    if fields is None:
        return ""
    inside = all(value is None or 0 <= value <= 255 for value in (fields.type, fields.code))
    return "" if inside else f"{name}: type and code must be within 0-255"


def _entity_fault(side: str, entity: EntityRule) -> str:
    for net in (*entity.nets, *entity.not_nets):
        if fault := net_fault(net):
            return f"{side}.nets: {fault}"
    try:
        for port in (*entity.ports, *entity.not_ports):
            parse_port(port)
    except InvalidInput as error:
        return f"{side}.ports: {error.message[:200]}"
    try:
        entity_selector(entity, "any")
    except InvalidInput as error:
        return f"{side}: {error.message[:200]}"
    return ""
