"""When a rule matches: its conditions as alternatives, each a sequence of expressions that must all match.

A packet matches the rule iff it matches one alternative. Alternatives arise from the two families, from sets that
are two kernel sets, from numeric ports besides named ones. What depends on the family is expanded for each family;
a rule whose networks are all of the other family does not exist for a family (datamodel 15.3). A condition on a
header that a packet lacks (ports of a later fragment) does not hold, negated or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, product
from math import prod
from typing import Protocol, TypeAlias

import msgspec

from calico.calc.messages import ActiveRule, RuleSide
from calico.lib.packed import is_v6
from calico.netlink.nftables.expr import Lookup
from calico.rules.constants import ConstantSet, constant_nets
from calico.rules.loads import (
    Exprs,
    Side,
    address,
    family,
    header,
    icmp_number,
    in_set,
    net_is,
    protocol,
)
from calico.rules.portmatch import port_conditions

__all__ = ["Alternatives", "Match", "SetParts", "match_rule"]

Alternatives: TypeAlias = list[Exprs]
MAX_ALTERNATIVES = 1024
MAX_EXPRS = 120
"""The kernel takes at most 128 expressions in a rule (nf_tables_api.c, NFT_RULE_MAXEXPRS)."""
ALWAYS: Alternatives = [()]
NEVER: Alternatives = []


class SetParts(Protocol):
    """Which kernel sets a set of the calculation consists of."""

    def address_parts(self, set_id: str, v6: bool) -> tuple[str, ...]:
        """Kernel sets keyed by address, disjoint; none holds anything of a set that does not exist."""
        ...

    def port_parts(self, set_id: str, v6: bool) -> tuple[str, ...]:
        """Kernel sets keyed by address, protocol, port."""
        ...


class Match(msgspec.Struct, frozen=True):
    """Alternatives and the constant sets that they look into; neither when it is ``too_large`` for the kernel."""

    alternatives: tuple[Exprs, ...] = ()
    constants: tuple[ConstantSet, ...] = ()
    too_large: bool = False


def match_rule(rule: ActiveRule, sets: SetParts) -> Match:
    """The alternatives of a rule's conditions; none when nothing can match."""
    constants: list[ConstantSet] = []
    alternatives: Alternatives = []
    for version in _versions(rule):
        factors = list(_factors(rule, version, sets, constants))
        start = () if version is None else family(version)
        if prod(map(len, factors)) > MAX_ALTERNATIVES:
            return Match(too_large=True)
        alternatives += [(*start, *chain.from_iterable(combination)) for combination in product(*factors)]
    if any(len(exprs) > MAX_EXPRS for exprs in alternatives):
        return Match(too_large=True)
    used = {expr.set for exprs in alternatives for expr in exprs if isinstance(expr, Lookup)}
    return Match(tuple(alternatives), tuple(c for c in constants if c.decl.name in used))


def _versions(rule: ActiveRule) -> tuple[int | None, ...]:
    """The families to render for; (None,) when nothing depends on the family."""
    if rule.ip_version is not None:
        return (rule.ip_version,)
    if rule.icmp or rule.not_icmp or any(map(_names_addresses, (rule.src, rule.dst))):
        return (4, 6)
    return (None,)


def _names_addresses(side: RuleSide) -> bool:
    return bool(
        side.nets or side.not_nets or side.ip_sets or side.not_ip_sets or side.named_ports or side.not_named_ports
    )


def _factors(
    rule: ActiveRule, version: int | None, sets: SetParts, constants: list[ConstantSet]
) -> Iterator[Alternatives]:
    """The rule's conditions, cheap ones first."""
    yield _protocol(rule)
    if version is not None:
        for name, side in _sides(rule):
            yield from _nets(name, side, version == 6, constants)
            yield from _ip_sets(name, side, version == 6, sets)
        yield _icmp(rule, version)
        yield _not_icmp(rule, version)
    for name, side in _sides(rule):
        yield from port_conditions(name, side, rule.protocol, version, sets.port_parts, constants)


def _sides(rule: ActiveRule) -> tuple[tuple[Side, RuleSide], ...]:
    return (("src", rule.src), ("dst", rule.dst))


def _protocol(rule: ActiveRule) -> Alternatives:
    if rule.protocol is None:
        return ALWAYS if rule.not_protocol is None else [protocol(rule.not_protocol, "neq")]
    return NEVER if rule.protocol == rule.not_protocol else [protocol(rule.protocol)]


def _nets(name: Side, side: RuleSide, v6: bool, constants: list[ConstantSet]) -> Iterator[Alternatives]:
    if side.nets:
        yield _nets_condition(name, side.nets, v6, False, constants)
    if side.not_nets:
        yield _nets_condition(name, side.not_nets, v6, True, constants)


def _nets_condition(
    name: Side, nets: Iterable[bytes], v6: bool, negated: bool, constants: list[ConstantSet]
) -> Alternatives:
    mine = [net for net in nets if is_v6(net) == v6]
    if not mine:
        return NEVER
    if any(net[-1] == 0 for net in mine):
        return NEVER if negated else ALWAYS
    if len(mine) == 1:
        return [net_is(name, mine[0], "neq" if negated else "eq")]
    constant = constant_nets(v6, mine)
    constants.append(constant)
    return [in_set(constant.decl.name, address(name, v6), inverted=negated)]


def _ip_sets(name: Side, side: RuleSide, v6: bool, sets: SetParts) -> Iterator[Alternatives]:
    load = address(name, v6)
    for set_id in side.ip_sets:
        yield [in_set(part, load) for part in sets.address_parts(set_id, v6)]
    for set_id in side.not_ip_sets:
        for part in sets.address_parts(set_id, v6):
            yield [in_set(part, load, inverted=True)]


def _icmp(rule: ActiveRule, version: int) -> Alternatives:
    if rule.icmp is None:
        return ALWAYS
    number, (kind, code) = icmp_number(version), rule.icmp
    if rule.protocol not in (None, number):
        return NEVER
    known: Exprs = () if rule.protocol else protocol(number)
    return [known + header(0, bytes((kind,))) + (() if code is None else header(1, bytes((code,))))]


def _not_icmp(rule: ActiveRule, version: int) -> Alternatives:
    if rule.not_icmp is None:
        return ALWAYS
    number, (kind, code) = icmp_number(version), rule.not_icmp
    if rule.protocol not in (None, number):
        return ALWAYS
    known: Exprs = () if rule.protocol else protocol(number)
    others: Alternatives = [] if rule.protocol else [protocol(number, "neq")]
    others.append(known + header(0, bytes((kind,)), "neq"))
    if code is not None:
        others.append(known + header(0, bytes((kind,))) + header(1, bytes((code,)), "neq"))
    return others
