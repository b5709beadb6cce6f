"""Hundreds of worlds on a real kernel: it does to real packets what the specification says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
import yaml

from worlds.aim import Aim
from worlds.draw import draw_settings, draw_world
from worlds.judge import regressions, write_regression
from worlds.kernel import Kernel, Sent
from worlds.pairs import covering_rows
from worlds.rule_space import FACTORS, lonely_pairs, possible, probes_of, world_of
from worlds.witnesses import Model
from worlds.world import Probe, World, from_document

PARTS, WORLDS, PACKETS, PAIRS = 5, 100, 50, 150
WORLDS_A_PROCESS = 20
"""After so many worlds other settings hold: another process takes over the table."""


def contradictions(kernel: Kernel, world: World, probes: list[Probe], chance: Random | None = None) -> list[Sent]:
    """Bring the kernel to the world; the packets to which it does other than the model says."""
    kernel.become(world, chance)
    model = Model(world)
    return [sent for sent in kernel.judge(probes) if sent.contradicts(model.passes(sent.probe))]


def keep(kernel: Kernel, world: World, wrong: list[Sent]) -> str:
    """Shrink what the kernel did otherwise, packet by packet."""

    def fails(document: Any) -> bool:
        candidate, probes = from_document(document)
        if candidate.before:
            kernel.become(msgspec.structs.replace(candidate, resources=candidate.before))
        return bool(contradictions(kernel, candidate, probes))

    return f"{wrong[0]}\n{write_regression(world, [sent.probe for sent in wrong], fails)}"


@pytest.mark.parametrize("part", range(PARTS))
def test_the_kernel_lets_pass_exactly_what_the_specification_does(
    shared_kernel: Kernel, chance: Random, part: int, record_property: Callable[[str, object], None]
) -> None:
    judged: Counter[tuple[str, bool]] = Counter()
    before: World = World()
    for number in range(WORLDS):
        if number % WORLDS_A_PROCESS == 0:
            settings = draw_settings(chance)
        world = msgspec.structs.replace(draw_world(chance, settings), before=before.resources)
        shared_kernel.become(world, chance)
        model = Model(world)
        sent = shared_kernel.judge(Aim(chance, world).probes(PACKETS))
        wrong = [one for one in sent if one.contradicts(model.passes(one.probe))]
        assert not wrong, keep(shared_kernel, world, wrong)
        judged.update((one.probe.way, one.arrived) for one in sent)
        before = world
    arrived = {way: judged[way, True] for way in ("forward", "to-host", "from-host")}
    record_property("counted", f"{judged.total()} packets of {WORLDS} worlds sent, arrived {arrived}")
    assert judged.total() >= 20 * WORLDS
    for way, count in arrived.items():
        assert min(count, judged[way, False]) > 5, f"{way}: these packets tell nothing apart"


def test_the_kernel_agrees_about_pairs_of_a_rules_fields(
    shared_kernel: Kernel, chance: Random, record_property: Callable[[str, object], None]
) -> None:
    rows = covering_rows(FACTORS, possible) + chance.sample(list(lonely_pairs()), PAIRS)
    packets = 0
    for row in rows:
        world = world_of(row)
        probes = probes_of(row, world, chance, 8)
        wrong = contradictions(shared_kernel, world, probes, chance)
        assert not wrong, keep(shared_kernel, world, wrong)
        packets += len(probes)
    record_property("counted", f"{packets} packets for {len(rows)} rules")


def test_a_run_shows_the_kernel_at_least_three_hundred_worlds() -> None:
    assert PARTS * WORLDS >= 300


def test_a_kernel_that_is_still_at_the_world_before_is_found_out(shared_kernel: Kernel, chance: Random) -> None:
    found = 0
    for _ in range(10):
        settings = draw_settings(chance)
        shared_kernel.become(draw_world(chance, settings))
        world = draw_world(chance, settings)
        model = Model(world)
        sent = shared_kernel.judge(Aim(chance, world).probes(PACKETS))
        found += any(one.contradicts(model.passes(one.probe)) for one in sent)
    assert found >= 5


@pytest.mark.parametrize("path", regressions(), ids=lambda path: path.stem)
def test_the_kernel_agrees_on_what_witnesses_disagreed_about_once(shared_kernel: Kernel, path: Path) -> None:
    world, probes = from_document(yaml.safe_load(path.read_text()))
    if world.before:
        shared_kernel.become(msgspec.structs.replace(world, resources=world.before))
    assert not contradictions(shared_kernel, world, probes)
