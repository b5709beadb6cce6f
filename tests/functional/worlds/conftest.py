"""A kernel that all worlds share, and chance that is another one each run (of pytest's random seed)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from worlds.kernel import Kernel, kernel


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.root)
            item.add_marker(pytest.mark.flaky(reruns=0))  # a packet that passed once did pass


@pytest.fixture(scope="session")
def shared_kernel() -> Iterator[Kernel]:
    if os.geteuid() != 0:
        pytest.skip("needs root for network namespaces")
    with kernel() as made:
        yield made


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> Random:
    seed = os.environ.get("WORLDS_SEED") or request.config.getoption("randomly_seed", 0)
    return Random(f"{seed} {request.node.name}")
