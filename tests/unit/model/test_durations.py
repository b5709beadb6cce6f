"""Go's durations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.errors import InvalidInput
from calico.model.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("1m30s", 90), ("0", 0), ("0s", 0), ("1.5h", 5400), ("-2s", -2), ("500ms", 0.5), (".5s", 0.5)],
)
def test_units_add_up(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "30", "s", "1 s", "1d", "1s\n", ".s", "1..5s", "1e3s", "٣s", "9999999h", "1s" * 99]
)
def test_what_go_refuses_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (90, "1m30s"), (7200, "2h0m0s"), (0.0015, "1.5ms"), (1e-6, "1µs"), (5e-9, "5ns"), (-1.25, "-1.25s")],
)
def test_durations_are_printed_as_go_prints_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(0, 10**15))
def test_printed_durations_parse_back_to_the_microsecond(microseconds: int) -> None:
    assert parse_duration(format_duration(microseconds / 1e6)) == pytest.approx(microseconds / 1e6, abs=1e-6)
