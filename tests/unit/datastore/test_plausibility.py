from __future__ import annotations

import pytest

from calico.datastore.sync.lineage import Lineage
from calico.datastore.sync.plausibility import ClusterFacts, cluster_facts, doubt, is_mass_loss, not_ready

OURS = ClusterFacts("g1", ready=True)
SAME, UNVERIFIABLE, BROKEN = Lineage.SAME, Lineage.UNVERIFIABLE, Lineage.BROKEN


@pytest.mark.parametrize(
    ("known", "found", "lineage", "vanishing", "held"),
    [
        (OURS, OURS, SAME, 0, False),
        (OURS, OURS, SAME, 100, False),  # an operator may delete everything of a living store
        (OURS, OURS, UNVERIFIABLE, 100, False),
        (OURS, OURS, BROKEN, 20, False),
        (OURS, OURS, BROKEN, 21, True),
        (OURS, None, SAME, 1, True),
        (OURS, ClusterFacts("g2", ready=True), SAME, 0, True),
        (OURS, ClusterFacts("", ready=True), SAME, 0, True),
        (ClusterFacts("", ready=True), OURS, SAME, 0, False),
        (None, None, SAME, 100, False),
        (None, OURS, BROKEN, 0, False),
    ],
)
def test_what_is_held_back(
    known: ClusterFacts | None, found: ClusterFacts | None, lineage: Lineage, vanishing: int, held: bool
) -> None:
    assert bool(doubt(known, found, lineage, "reason", 100, vanishing)) is held


def test_a_loss_is_large_above_ten_keys_and_a_fifth() -> None:
    assert [is_mass_loss(*case) for case in ((12, 10), (12, 11), (100, 20), (100, 21))] == [False, True, False, True]


@pytest.mark.parametrize("value", [b"", b"\xff", b"[]", b'{"spec":7}', b'{"spec":' * 5000])
def test_an_unreadable_cluster_information_is_not_ready(value: bytes) -> None:
    assert cluster_facts(value) == ClusterFacts()
    assert "locked" in not_ready(cluster_facts(value))


def test_readiness_must_be_said() -> None:
    assert not_ready(cluster_facts(b'{"spec":{}}'))
    assert not not_ready(cluster_facts(b'{"spec":{"datastoreReady":true},"status":{}}'))
    assert "not been initialised" in not_ready(None)
