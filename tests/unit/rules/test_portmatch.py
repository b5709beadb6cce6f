"""Port ranges: the same ports in as few ranges as there can be."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.calc.messages import ActiveRule, IPSetUpdate, RuleSide
from calico.netlink.nftables.expr import Cmp, Expr, Meta, Payload, Range
from calico.rules.ipsets import IPSets
from calico.rules.match import match_rule
from calico.rules.portmatch import merged
from calico.rules.table import TableState

ports = st.integers(0, 30)


@given(st.lists(st.tuples(ports, ports), max_size=6))
def test_merged_ranges_hold_the_same_ports_in_order_and_neither_overlap_nor_touch(
    ranges: list[tuple[int, int]],
) -> None:
    found = merged(ranges)
    assert [port for first, last in found for port in range(first, last + 1)] == sorted(
        {port for first, last in ranges for port in range(first, last + 1)}
    )
    assert all(first <= last for first, last in found)
    assert all(one[1] + 1 < other[0] for one, other in pairwise(found))


def test_ranges_that_touch_are_one() -> None:
    assert merged([(3, 4), (1, 2)]) == [(1, 4)]
    assert merged([(1, 2), (4, 5)]) == [(1, 2), (4, 5)]
    assert merged([(2, 1), (5, 5), (5, 5)]) == [(5, 5)]


def exprs_of(rule: ActiveRule) -> tuple[tuple[Expr, ...], ...]:
    return match_rule(rule, IPSets(TableState())).alternatives


FEW, MANY = ((80, 80),), ((80, 80), (90, 91))


@pytest.mark.parametrize(
    "side", [RuleSide(ports=FEW), RuleSide(ports=MANY), RuleSide(not_ports=FEW), RuleSide(not_ports=MANY)]
)
def test_a_rule_that_names_its_protocol_does_not_ask_whether_that_has_ports(side: RuleSide) -> None:
    (exprs,) = exprs_of(ActiveRule(action="allow", protocol=6, dst=side))
    assert exprs[:2] == (Meta("l4proto"), Cmp("eq", b"\x06"))
    assert exprs.count(Meta("l4proto")) == 1
    for other in exprs_of(ActiveRule(action="allow", dst=side)):
        assert other.count(Meta("l4proto")) == 1


def test_one_port_is_compared_and_several_in_a_row_are_a_range_as_nft_has_them() -> None:
    load = Payload("transport", 2, 2)
    for side, compared in (
        (RuleSide(ports=((80, 80),)), Cmp("eq", b"\0\x50")),
        (RuleSide(not_ports=((80, 80),)), Cmp("neq", b"\0\x50")),
        (RuleSide(ports=((80, 81),)), Range("eq", b"\0\x50", b"\0\x51")),
        (RuleSide(not_ports=((80, 81),)), Range("neq", b"\0\x50", b"\0\x51")),
    ):
        (exprs,) = exprs_of(ActiveRule(action="allow", protocol=6, dst=side))
        assert exprs[2:] == (load, compared)


def test_named_ports_alone_need_no_set_of_numbers() -> None:
    sets = IPSets(TableState())
    sets.replace(IPSetUpdate(id="p", kind="ports", members=frozenset()))
    found = match_rule(ActiveRule(action="allow", ip_version=4, dst=RuleSide(named_ports=("p",))), sets)
    assert (len(found.alternatives), found.constants) == (1, ())
