"""Lets witnesses judge many worlds, and makes of a disagreement the smallest world that shows it."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import yaml

from worlds.aim import Aim
from worlds.draw import draw_settings, draw_world
from worlds.shrink import minimal
from worlds.witnesses import Evaluator, Model, Product, disagreements
from worlds.world import Probe, World, from_document, to_document

__all__ = ["REGRESSIONS", "Tally", "agree", "disagrees", "judge", "regressions", "write_regression"]

REGRESSIONS = Path(__file__).parent / "regressions"
_WORLDS_A_HOST = 20
"""After so many worlds another host begins, with other settings."""


class Tally(msgspec.Struct):
    """What was judged. ``verdicts`` counts packets by way and the model's verdict."""

    worlds: int = 0
    verdicts: Counter[tuple[str, bool]] = msgspec.field(default_factory=Counter)
    wrong: list[tuple[World, list[Probe]]] = []

    @property
    def packets(self) -> int:
        return self.verdicts.total()

    def share_passed(self, way: str) -> float:
        """Of the packets on one way."""
        passed, stopped = self.verdicts[way, True], self.verdicts[way, False]
        return passed / max(1, passed + stopped)

    def __str__(self) -> str:
        passed = sum(count for (_, verdict), count in self.verdicts.items() if verdict)
        return f"{self.packets} packets of {self.worlds} worlds judged, {passed} pass"


def judge(random: Random, worlds: int, packets: int) -> Tally:
    """Model against evaluator. Each world comes about by changes to the one before it."""
    tally = Tally()
    for number in range(worlds):
        if number % _WORLDS_A_HOST == 0:
            settings = draw_settings(random)
            product, before = Product(settings), ()
        world = msgspec.structs.replace(draw_world(random, settings), before=before)
        product.become(world.resources, random)
        probes = Aim(random, world).probes(packets)
        model = Model(world)
        tally.worlds += 1
        tally.verdicts.update((probe.way, model.passes(probe)) for probe in probes)
        wrong = disagreements(model, Evaluator(product), probes)
        if wrong:
            tally.wrong.append((world, wrong))
        before = world.resources
    return tally


def agree(world: World, probes: list[Probe]) -> bool:
    """Whether model and evaluator agree on every packet of a world that is made anew."""
    return not disagreements(Model(world), Evaluator.of(world), probes)


def disagrees(document: Any) -> bool:
    """Whether a document is a world on which model and evaluator do not agree; so is one that breaks either."""
    world, probes = from_document(document)
    try:
        return not agree(world, probes)
    except Exception:
        return True


def write_regression(
    world: World, probes: list[Probe], fails: Callable[[Any], bool] = disagrees, prefix: str = ""
) -> str:
    """Shrink a disagreement and keep it among the regressions; the text of the file. If a world made anew shows
    nothing, because it takes the very history that led there, it is kept as it is. Mutation tests keep none."""
    document = to_document(world, probes[:1])
    if os.environ.get("WORLDS_REGRESSIONS") == "none":
        return str(document)
    alone = {**document, "before": []}
    if fails(alone):
        document = minimal(alone, fails)
    elif fails(document):
        document = minimal(document, fails)
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    name = prefix + hashlib.sha256(text.encode()).hexdigest()[:12]
    (REGRESSIONS / f"{name}.yaml").write_text(text)
    return f"tests/worlds/regressions/{name}.yaml\n{text}"


def regressions() -> list[Path]:
    """All worlds on which witnesses disagreed once."""
    return sorted(REGRESSIONS.glob("*.yaml"))
