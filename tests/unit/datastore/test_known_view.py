from __future__ import annotations

import pytest

from calico.datastore.api import KeyValue, Update, WatchBatch
from calico.datastore.sync.known_view import FoundView, KnownView, Position
from calico.datastore.sync.lineage import Anchor
from calico.errors import ResyncRequired


def kv(key: str, value: bytes, revision: int) -> KeyValue:
    return KeyValue(key, value, revision, revision, 1)


def view(revision: int, *items: KeyValue) -> FoundView:
    return FoundView({"/p/": items, "/q/": ()}, revision, 1, None)


def test_a_listing_stands_at_its_newest_change_and_lends_it_to_an_empty_prefix() -> None:
    known = KnownView()
    known.replace(view(9, kv("/p/a", b"1", 3), kv("/p/b", b"2", 5)), trusted=True)
    assert known.positions == dict.fromkeys(("/p/", "/q/"), Position(9, (Anchor("/p/b", b"2", 5),)))
    assert (known.revision, known.oldest_anchor(), known.is_provable()) == (9, 5, True)


def test_an_empty_store_has_no_proof() -> None:
    known = KnownView()
    known.replace(view(9), trusted=True)
    assert (known.is_provable(), known.oldest_anchor(), known.anchors()) == (False, 0, set())


def test_equal_revisions_are_trusted_only_when_descent_is_proven() -> None:
    known = KnownView()
    known.replace(view(9, kv("/p/a", b"1", 3)), trusted=True)
    assert known.replace(view(9, kv("/p/a", b"other", 3)), trusted=True) == []
    assert known.replace(view(9, kv("/p/a", b"other", 3)), trusted=False) == [Update("/p/a", b"other", 3)]


def test_deletions_come_last() -> None:
    known = KnownView()
    known.replace(view(3, kv("/p/a", b"1", 3)), trusted=True)
    changes = known.replace(view(9, kv("/p/b", b"1", 8)), trusted=True)
    assert changes == [Update("/p/b", b"1", 8), Update("/p/a", None, 9)]


def test_only_the_last_state_of_a_key_in_a_batch_counts() -> None:
    known = KnownView()
    known.replace(view(3, kv("/p/a", b"1", 3)), trusted=True)
    updates = (Update("/p/a", b"2", 4), Update("/p/b", b"1", 5), Update("/p/a", b"1", 6), Update("/p/c", None, 6))
    assert known.changes_of("/p/", WatchBatch(updates, 6)) == [Update("/p/b", b"1", 5)]


def test_news_of_a_time_that_was_seen_is_a_contradiction() -> None:
    known = KnownView()
    known.replace(view(9, kv("/p/a", b"1", 3)), trusted=True)
    with pytest.raises(ResyncRequired, match="/p/b"):
        known.changes_of("/p/", WatchBatch((Update("/p/b", b"1", 7),), 7))


def test_a_position_never_goes_back() -> None:
    position = Position(9, (Anchor("/p/a", b"1", 3),))
    assert position.after(WatchBatch((Update("/p/b", None, 7),), 7)) == position


def test_a_deletion_is_remembered_together_with_the_last_put() -> None:
    position = Position(9, (Anchor("/p/a", b"1", 3),))
    deleted = position.after(WatchBatch((Update("/p/a", None, 10),), 10))
    assert deleted.anchors == (Anchor("/p/a", None, 10), Anchor("/p/a", b"1", 3))
    both = deleted.after(WatchBatch((Update("/p/b", b"2", 11), Update("/p/c", None, 11)), 11))
    assert both.anchors == (Anchor("/p/c", None, 11), Anchor("/p/b", b"2", 11))
    assert both.after(WatchBatch((Update("/p/c", b"3", 12),), 12)).anchors == (Anchor("/p/c", b"3", 12),)
