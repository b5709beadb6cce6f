"""Worlds on which witnesses disagreed once, each as small as it could be made: they agree now and for ever."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from worlds.judge import regressions
from worlds.literal import LiteralReading
from worlds.witnesses import Evaluator, Model
from worlds.world import from_document


@pytest.mark.parametrize("path", regressions(), ids=lambda path: path.stem)
def test_all_witnesses_agree_on_what_they_disagreed_about_once(path: Path) -> None:
    world, probes = from_document(yaml.safe_load(path.read_text()))
    assert probes
    model, evaluator, literal = Model(world), Evaluator.of(world), LiteralReading(world)
    for probe in probes:
        verdict = model.passes(probe)
        assert evaluator.passes(probe) == verdict, evaluator.outcome(probe)
        if path.stem.startswith("literal-"):
            assert literal.passes(probe) == verdict
