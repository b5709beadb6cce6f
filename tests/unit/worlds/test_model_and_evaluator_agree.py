"""More than a hundred thousand packets a run: the model and the evaluator say the same of each."""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worlds.aim import Aim
from worlds.draw import draw_world
from worlds.judge import agree, judge, write_regression
from worlds.witnesses import Evaluator, Model

PARTS, WORLDS, PACKETS = 6, 400, 60
FEW = os.environ.get("WORLDS") == "few"
"""Mutation tests look at a few worlds only: there are thousands of mutants."""


@pytest.mark.parametrize("part", range(1 if FEW else PARTS))
def test_the_specification_and_the_rendered_rules_agree_on_every_packet_of_every_world(
    chance: Random, part: int, record_property: Callable[[str, object], None]
) -> None:
    tally = judge(chance, 100 if FEW else WORLDS, PACKETS)
    record_property("counted", str(tally))
    assert not tally.wrong, "\n".join(write_regression(world, probes) for world, probes in tally.wrong[:3])
    for way in ("forward", "to-host", "from-host"):
        assert 0.1 < tally.share_passed(way) < 0.97, f"{way}: these packets tell nothing apart"


def test_a_run_judges_at_least_a_hundred_thousand_packets() -> None:
    assert PARTS * WORLDS * PACKETS >= 100_000


@settings(max_examples=10 if FEW else 100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_the_specification_and_the_rendered_rules_agree_on_worlds_that_hypothesis_draws(random: Random) -> None:
    world = draw_world(random)
    probes = Aim(random, world).probes(5)
    assert agree(world, probes), [
        (probe, Model(world).passes(probe), Evaluator.of(world).outcome(probe)) for probe in probes
    ]
