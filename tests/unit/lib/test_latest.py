from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from calico.lib.latest import Latest

STEPS = st.lists(
    st.one_of(st.none(), st.tuples(st.sampled_from("ab"), st.one_of(st.none(), st.integers(0, 2)))), max_size=40
)


@given(STEPS)
def test_what_is_taken_leads_to_the_latest_values_with_nothing_redundant(steps: list[tuple[str, int] | None]) -> None:
    latest: Latest[str, int] = Latest()
    now: dict[str, int] = {}
    told: dict[str, int] = {}
    for step in (*steps, None):
        if step is None:
            changed, gone = latest.take()
            assert all(told.get(key) != value for key, value in changed.items())
            told.update(changed)
            for key in gone:
                del told[key]
            assert told == now == latest.told
        else:
            key, value = step
            latest.put(key, value)
            now.pop(key, None)
            if value is not None:
                now[key] = value
