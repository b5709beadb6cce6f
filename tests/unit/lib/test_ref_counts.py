from __future__ import annotations

import pytest

from calico.lib.ref_counts import RefCounts


def test_only_the_first_acquire_and_the_last_release_count() -> None:
    counts: RefCounts[str] = RefCounts()
    assert [counts.acquire("a"), counts.acquire("a"), counts.release("a"), counts.release("a")] == [
        True,
        False,
        False,
        True,
    ]
    assert "a" not in counts
    assert len(counts) == 0


def test_releasing_what_was_never_acquired_is_an_error() -> None:
    with pytest.raises(KeyError):
        RefCounts[str]().release("a")
