"""Port ranges: the same ports in as few ranges as there can be."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from calico.rules.portmatch import merged

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
