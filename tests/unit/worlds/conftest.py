"""Chance: another one each run, of the random seed that pytest prints and takes with ``-p randomly_seed=N``."""

from __future__ import annotations

import os
from random import Random

import pytest


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> Random:
    """Randomness of its own for each test: of the run's seed and the test's name."""
    seed = os.environ.get("WORLDS_SEED") or request.config.getoption("randomly_seed", 0)
    return Random(f"{seed} {request.node.name}")
