"""Every pair of values of a rule's fields, judged by all witnesses; and that the rows really hold every pair."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import combinations
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worlds.judge import write_regression
from worlds.literal import LiteralReading
from worlds.pairs import Row, all_pairs, covering_rows
from worlds.rule_space import FACTORS, lonely_pairs, possible, probes_of, rule_of, world_of
from worlds.witnesses import Evaluator, Model

PARTS = 4
EVERY = 20 if os.environ.get("WORLDS") == "few" else 1
PACKETS = 6

factor_maps = st.dictionaries(
    st.sampled_from("abcdef"), st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True), min_size=2
)


def pairs_in(rows: list[Row], factors: Any) -> set[frozenset[tuple[str, int]]]:
    return {
        frozenset((name, factors[name].index(row[name])) for name in pair)
        for row in rows
        for pair in combinations(factors, 2)
    }


@given(factor_maps, st.integers(0, 9))
def test_rows_hold_every_pair_that_is_possible_and_no_row_is_impossible(factors: Any, never: int) -> None:
    def fits(row: Row) -> bool:
        one, other = ([row[name]] if name in row else factors.get(name, [None]) for name in "ab")
        return [*one, *other] != [never, never]

    rows = covering_rows(factors, fits)
    assert all(set(row) == set(factors) and fits(row) for row in rows)
    assert pairs_in(rows, factors) >= all_pairs(factors, fits)


def test_the_rows_of_a_rule_are_few_and_hold_every_pair_of_its_fields() -> None:
    rows = covering_rows(FACTORS, possible)
    assert pairs_in(rows, FACTORS) >= all_pairs(FACTORS, possible)
    assert all(map(possible, rows))
    assert len(rows) < 100


def judge_row(row: Row, chance: Random) -> tuple[int, bool, bool]:
    """Packets judged, whether the rule matched some of them, and whether it did not match some."""
    world = world_of(row)
    probes = probes_of(row, world, chance, PACKETS)
    model, evaluator, literal = Model(world), Evaluator.of(world), LiteralReading(world)
    for probe in probes:
        verdict = model.passes(probe)
        assert evaluator.passes(probe) == verdict, write_regression(world, [probe])
        assert literal.passes(probe) in (None, verdict), (row, probe)
    rule, namespaces = rule_of(row), ("red", "blue") if row["owner"] == "NetworkPolicy" else ("",)
    matched = {any(literal.matches(rule, ns, probe.flow) for ns in namespaces) for probe in probes}
    return len(probes), True in matched, False in matched


@pytest.mark.parametrize("part", range(PARTS))
def test_all_witnesses_agree_about_every_pair_of_fields(
    chance: Random, part: int, record_property: Callable[[str, object], None]
) -> None:
    judged = [judge_row(row, chance) for row in list(lonely_pairs())[part :: PARTS * EVERY]]
    both = sum(hit and missed for _, hit, missed in judged)
    record_property("counted", f"{sum(n for n, *_ in judged)} packets for {len(judged)} pairs, {both} met and missed")
    assert both > len(judged) * 0.7


def test_all_witnesses_agree_about_rules_with_every_field_at_once(
    chance: Random, record_property: Callable[[str, object], None]
) -> None:
    judged = [judge_row(row, chance) for row in covering_rows(FACTORS, possible)]
    both = sum(hit and missed for _, hit, missed in judged)
    record_property("counted", f"{sum(n for n, *_ in judged)} packets for {len(judged)} rows, {both} met and missed")
    assert both > len(judged) / 10
