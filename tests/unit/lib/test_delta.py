from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from calico.lib.delta import Delta


@given(st.sets(st.integers(0, 5)), st.lists(st.one_of(st.integers(0, 5), st.none()), max_size=40))
def test_a_delta_is_the_difference_to_what_was_last_taken(start: set[int], flips: list[int | None]) -> None:
    delta: Delta[int] = Delta()
    before, now = set(start), set(start)
    for item in (*flips, None):
        if item is None:
            assert bool(delta) == (before != now)
            assert delta.take() == (now - before, before - now)
            before = set(now)
        elif item in now:
            now.remove(item)
            delta.remove(item)
        else:
            now.add(item)
            delta.add(item)
