"""The executable specification says what the datamodel says, read literally."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

from worlds.aim import Aim
from worlds.draw import Draw, draw_settings
from worlds.judge import write_regression
from worlds.literal import LiteralReading
from worlds.witnesses import Model
from worlds.world import World, from_document

WORLDS, PACKETS = 100 if os.environ.get("WORLDS") == "few" else 400, 60


def misread(said: bool) -> Callable[[Any], bool]:
    """Whether a document is a world where the literal reading says this and the model does not: shrinking a
    disagreement must not end at one of another kind."""

    def fails(document: Any) -> bool:
        world, probes = from_document(document)
        literal, model = LiteralReading(world), Model(world)
        return any(literal.passes(probe) is said is not model.passes(probe) for probe in probes)

    return fails


def test_the_model_decides_as_the_resources_say_word_by_word(
    chance: Random, record_property: Callable[[str, object], None]
) -> None:
    verdicts: Counter[bool | None] = Counter()
    for _ in range(WORLDS):
        world = World(resources=Draw(chance, odd=0).resources(), settings=draw_settings(chance))
        literal, model = LiteralReading(world), Model(world)
        for probe in Aim(chance, world).probes(PACKETS):
            verdict = literal.passes(probe)
            verdicts[verdict] += 1
            if verdict is not None:
                assert verdict == model.passes(probe), write_regression(world, [probe], misread(verdict), "literal-")
    record_property("counted", f"{verdicts[True]} packets pass, {verdicts[False]} do not, in {WORLDS} worlds")
    assert verdicts[True] > 2 * WORLDS
    assert verdicts[False] > 2 * WORLDS
