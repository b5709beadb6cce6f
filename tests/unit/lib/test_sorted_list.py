from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.lib.sorted_list import SortedList

VALUES = st.integers(0, 40).map(lambda number: bytes((number,)))


@given(start=st.sets(VALUES), flips=st.lists(VALUES, max_size=80))
def test_the_first_value_after_a_bound_is_found_whatever_the_blocks(start: set[bytes], flips: list[bytes]) -> None:
    values = SortedList(start, block=2)
    now = set(start)
    for value in flips:
        if value in now:
            values.remove(value)
            now.remove(value)
        else:
            values.add(value)
            now.add(value)
        for bound in (b"", value, bytes((20,))):
            assert values.first_after(bound) == min((v for v in now if v > bound), default=None)


def test_removing_what_is_absent_is_an_error() -> None:
    with pytest.raises(KeyError):
        SortedList().remove(b"a")
    with pytest.raises(KeyError):
        SortedList([b"a", b"c"]).remove(b"b")


def test_blocks_stay_short_however_long_the_list() -> None:
    values = SortedList(block=100)
    numbers = list(range(20_000))
    random.Random(1).shuffle(numbers)
    for number in numbers:
        values.add(number.to_bytes(3, "big"))
    assert max(map(len, values._blocks)) <= 200
    assert values.first_after((19_998).to_bytes(3, "big")) == (19_999).to_bytes(3, "big")
