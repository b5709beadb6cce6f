from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from calico.lib.small_set import SmallSet, with_item, without_item

STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60)


@given(STEPS)
def test_a_small_set_holds_what_a_set_would(steps: list[tuple[bool, int]]) -> None:
    small: SmallSet[int] = ()
    real: set[int] = set()
    for present, item in steps:
        small = with_item(small, item) if present else without_item(small, item)
        (real.add if present else real.discard)(item)
        assert sorted(small) == sorted(real)
        assert bool(small) == bool(real)


def test_few_items_take_no_set() -> None:
    small: SmallSet[int] = ()
    for item in range(4):
        small = with_item(small, item)
    assert isinstance(small, tuple)
    assert isinstance(with_item(small, 4), set)
