"""Covering arrays: few rows in which every pair of values of any two factors that go together occurs.

Greedy: a row begins with a pair that no row has yet and takes, factor by factor, the value that adds most new pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any, TypeAlias

__all__ = ["Row", "all_pairs", "covering_rows"]

Factors: TypeAlias = Mapping[str, Sequence[Any]]
Row: TypeAlias = dict[str, Any]
Pair: TypeAlias = frozenset[tuple[str, int]]
"""Two factors and the positions of their values."""


def all_pairs(factors: Factors, possible: Callable[[Row], bool]) -> set[Pair]:
    """Every pair of values that can stand in one row. ``possible`` says of rows that lack factors whether they can be
    completed."""
    return {
        frozenset({(one, i), (other, j)})
        for one, other in combinations(factors, 2)
        for i, value in enumerate(factors[one])
        for j, another in enumerate(factors[other])
        if possible({one: value, other: another})
    }


def covering_rows(factors: Factors, possible: Callable[[Row], bool]) -> list[Row]:
    """Rows that together hold every pair; every row is possible, and has all factors."""
    missing = all_pairs(factors, possible)
    rows: list[Row] = []
    while missing:
        row = _row(factors, possible, missing)
        missing -= {frozenset(pair) for pair in combinations(row.items(), 2)}
        rows.append({name: factors[name][position] for name, position in row.items()})
    return rows


def _row(factors: Factors, possible: Callable[[Row], bool], missing: set[Pair]) -> dict[str, int]:
    row = dict(min(missing, key=sorted))
    wanted = {name: sum(any(name == n for n, _ in pair) for pair in missing) for name in factors}
    for name in sorted(factors, key=lambda name: -wanted[name]):
        if name not in row:
            row[name] = _best(name, factors, row, possible, missing)
    return row


def _best(name: str, factors: Factors, row: dict[str, int], possible: Callable[[Row], bool], missing: set[Pair]) -> int:
    """The position of the value that adds most new pairs to the row; some value is possible."""
    so_far = {other: factors[other][position] for other, position in row.items()}

    def new_pairs(position: int) -> int:
        return sum(frozenset({(name, position), pair}) in missing for pair in row.items())

    choices = [i for i, value in enumerate(factors[name]) if possible({**so_far, name: value})]
    return max(choices, key=new_pairs)
