"""Rules of a policy or profile to active rules: names to numbers, selectors to sets, one family where nets demand it.

Fail closed: if any rule of a direction is malformed the whole direction becomes a single deny, since what the author
meant is unknown. A rule that is well-formed but cannot be enforced here matches nothing. Both are reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from calico.calc.compile_entity import EntityParts, SetSpec, compile_entity
from calico.calc.messages import ActiveRule
from calico.errors import InvalidInput
from calico.model.decoding import DENY_DAMAGED
from calico.model.numorstring import protocol_number
from calico.model.policy import ICMPFields, Rule

__all__ = ["DENY_ALL", "CompiledRules", "compile_rules"]

Direction = Literal["ingress", "egress"]
Action = Literal["allow", "deny", "pass", "log"]

_ACTIONS: dict[str, Action] = {"allow": "allow", "deny": "deny", "pass": "pass", "log": "log"}
_ICMP = (1, 58)
DENY_ALL = (ActiveRule(action="deny", why="damaged"),)


class CompiledRules(msgspec.Struct, frozen=True):
    """One direction: its rules, the sets they refer to, and what is wrong with it."""

    rules: tuple[ActiveRule, ...] = ()
    sets: tuple[SetSpec, ...] = ()
    problems: tuple[str, ...] = ()


def compile_rules(
    rules: Sequence[Rule], namespace: str, direction: Direction, *, services_known: bool = False
) -> CompiledRules:
    """Compile one direction of a policy of ``namespace`` (empty: a global policy or a profile).

    ``services_known``: somebody tells what is behind services; else rules that name one are reported.
    """
    if rules is DENY_DAMAGED:
        return CompiledRules(DENY_ALL)
    active: list[ActiveRule] = []
    sets: dict[str, SetSpec] = {}
    problems: list[str] = []
    broken = False
    for position, rule in enumerate(rules):
        place = f"spec.{direction}[{position}]"
        try:
            compiled, needed, notes = _compile_rule(rule, namespace, direction, services_known)
        except InvalidInput as error:
            problems.append(f"{place}.{error.field}: {error.message}")
            broken = True
            continue
        active += compiled
        sets.update((spec.id, spec) for spec in needed)
        problems += [f"{place}.{note}" for note in notes]
    if broken:
        return CompiledRules(DENY_ALL, (), tuple(problems))
    return CompiledRules(tuple(active), tuple(sets.values()), tuple(problems))


def _compile_rule(
    rule: Rule, namespace: str, direction: Direction, services_known: bool
) -> tuple[list[ActiveRule], tuple[SetSpec, ...], list[str]]:
    action = _ACTIONS.get(rule.action.lower())
    if action is None:
        raise InvalidInput(f"unknown action {rule.action!r}", field="action")
    if rule.ip_version not in (None, 4, 6):
        raise InvalidInput(f"{rule.ip_version} is neither 4 nor 6", field="ipVersion")
    protocol = _protocol(rule.protocol, "protocol")
    not_protocol = _protocol(rule.not_protocol, "notProtocol")
    icmp = _icmp(rule.icmp, protocol, "icmp")
    not_icmp = _icmp(rule.not_icmp, protocol, "notICMP")
    source = compile_entity(rule.source, namespace, protocol, "source")
    destination = compile_entity(rule.destination, namespace, protocol, "destination")
    notes = [
        f"{name}.services: services are not known in this datastore; the rule matches nothing"
        for name, side in (("source", source), ("destination", destination))
        if side.needs_services and not services_known
    ]
    if rule.http is not None:
        if action != "allow" or direction != "ingress":
            raise InvalidInput("only an Allow rule for ingress may match HTTP", field="http")
        return [], (), [*notes, "http: a packet filter cannot enforce this; the rule allows nothing"]
    active = [
        ActiveRule(
            action=action,
            ip_version=version,
            protocol=protocol,
            not_protocol=not_protocol,
            icmp=icmp,
            not_icmp=not_icmp,
            src=source.side(version),
            dst=destination.side(version),
            comment=_comment(rule),
        )
        for version in _versions(rule.ip_version, source, destination)
    ]
    sets = (*source.sets, *destination.sets) if active else ()
    return active, sets, notes


def _versions(wanted: int | None, *sides: EntityParts) -> Iterator[Literal[4, 6] | None]:
    """The families to make a rule for; a single None when nothing in the rule depends on the family.

    A list of nets (negated or not) without any of a family rules that family out, and so does a negated catch-all.
    """
    families: tuple[Literal[4, 6], ...] = (4, 6)
    possible = [f for f in families if wanted in (None, f) and all(side.possible_in(f) for side in sides)]
    if len(possible) == 2 and not any(side.depends_on_family for side in sides):
        yield None
    else:
        yield from possible


def _protocol(raw: int | str | None, field: str) -> int | None:
    if raw is None:
        return None
    try:
        return protocol_number(raw)
    except InvalidInput as error:
        raise InvalidInput(error.message, field=field) from None


def _icmp(fields: ICMPFields | None, protocol: int | None, name: str) -> tuple[int, int | None] | None:
    if fields is None:
        return None
    if protocol not in _ICMP:
        raise InvalidInput("needs the protocol ICMP or ICMPv6", field=name)
    if fields.type is None:
        if fields.code is not None:
            raise InvalidInput("a code needs a type", field=f"{name}.code")
        return None
    if not 0 <= fields.type <= 254:
        raise InvalidInput(f"{fields.type} is not within 0-254", field=f"{name}.type")
    if fields.code is not None and not 0 <= fields.code <= 255:
        raise InvalidInput(f"{fields.code} is not within 0-255", field=f"{name}.code")
    return fields.type, fields.code


def _comment(rule: Rule) -> str:
    if rule.metadata is None:
        return ""
    return "; ".join(f"{name}={value}" for name, value in sorted(rule.metadata.annotations.items()))
