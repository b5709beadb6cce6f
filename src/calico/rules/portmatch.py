"""Conditions on the ports of one side of a packet: numbers, ranges, and ports that endpoints declare by name.

Only TCP, UDP and SCTP have ports: a packet of another protocol fulfils no positive condition and every negative one.
One port or range stands in the rule; several are a constant hash, but a few wide ranges stay ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from calico.calc.messages import RuleSide
from calico.netlink.nftables.expr import Cmp, Meta, Range
from calico.rules.constants import ConstantSet, constant_ports, constant_protocols
from calico.rules.loads import Exprs, Side, address, in_set, port

__all__ = ["PORT_PROTOCOLS", "merged", "port_conditions"]

PORT_PROTOCOLS = (6, 17, 132)
_WIDE = 1024
_MANY_WIDE = 4


def port_conditions(
    name: Side,
    side: RuleSide,
    number: int | None,
    version: int | None,
    parts: Callable[[str, bool], tuple[str, ...]],
    constants: list[ConstantSet],
) -> Iterator[list[Exprs]]:
    """The positive and the negative condition of one side, each as alternatives.

    ``number`` is the protocol that the rule has already checked, ``version`` is known where a named port is given.
    """
    has_ports = number is None or number in PORT_PROTOCOLS
    if side.ports or side.named_ports:
        positive = _numeric(name, side.ports, number, constants)
        positive += [_named(name, part, version) for part in _parts(side.named_ports, version, parts)]
        yield positive if has_ports else []
    if has_ports and (side.not_ports or side.not_named_ports):
        yield _negative(name, side, number, version, parts, constants)


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same ports as ranges in order that neither overlap nor touch; an empty range (first > last) is none."""
    out: list[tuple[int, int]] = []
    for first, last in sorted(r for r in ranges if r[0] <= r[1]):
        if out and first <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], last))
        else:
            out.append((first, last))
    return out


def _numeric(
    name: Side, ranges: Iterable[tuple[int, int]], number: int | None, constants: list[ConstantSet]
) -> list[Exprs]:
    known = () if number is not None else _has_ports(constants)
    return [known + exprs for exprs in _port_in(name, ranges, False, constants)]


def _negative(
    name: Side,
    side: RuleSide,
    number: int | None,
    version: int | None,
    parts: Callable[[str, bool], tuple[str, ...]],
    constants: list[ConstantSet],
) -> list[Exprs]:
    exprs: Exprs = ()
    for part in _parts(side.not_named_ports, version, parts):
        exprs += _named(name, part, version, inverted=True)
    for condition in _port_in(name, side.not_ports, True, constants):
        exprs += condition
    if number is not None:
        return [exprs]
    return [_has_ports(constants, inverted=True), _has_ports(constants) + exprs]


def _port_in(name: Side, ranges: Iterable[tuple[int, int]], negated: bool, constants: list[ConstantSet]) -> list[Exprs]:
    """Conditions of which one (negated: all) must hold for the port to be in (negated: in none of) ``ranges``."""
    todo = merged(ranges)
    wide = [r for r in todo if r[1] - r[0] >= _WIDE]
    inline = todo if len(todo) == 1 else wide if len(wide) <= _MANY_WIDE else []
    out: list[Exprs] = [(port(name), _port_cmp(first, last, negated)) for first, last in inline]
    small = [number for first, last in todo if (first, last) not in inline for number in range(first, last + 1)]
    if small:
        constant = constant_ports(small)
        constants.append(constant)
        out.append(in_set(constant.decl.name, port(name), inverted=negated))
    return out


def _port_cmp(first: int, last: int, negated: bool) -> Cmp | Range:
    low, high = first.to_bytes(2, "big"), last.to_bytes(2, "big")
    op: Literal["eq", "neq"] = "neq" if negated else "eq"
    return Cmp(op, low) if first == last else Range(op, low, high)


def _parts(ids: Iterable[str], version: int | None, parts: Callable[[str, bool], tuple[str, ...]]) -> Iterator[str]:
    for set_id in ids:
        yield from parts(set_id, version == 6)


def _named(name: Side, part: str, version: int | None, *, inverted: bool = False) -> Exprs:
    v6 = version == 6
    words = 4 if v6 else 1
    return in_set(part, address(name, v6), Meta("l4proto", words), port(name, words + 1), inverted=inverted)


def _has_ports(constants: list[ConstantSet], *, inverted: bool = False) -> Exprs:
    constant = constant_protocols(PORT_PROTOCOLS)
    constants.append(constant)
    return in_set(constant.decl.name, Meta("l4proto"), inverted=inverted)
