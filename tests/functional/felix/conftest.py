"""A running host that most tests share, and a maker of fresh ones for tests that break things."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from felix_world import World


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.root)
            item.add_marker(pytest.mark.etcd)
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="needs root to make network namespaces"))


@pytest.fixture(scope="session")
def running_world() -> Iterator[World]:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a run cut short cleans up as well
    made = World()
    try:
        made.start_etcd()
        made.cluster()
        made.start_felix()
        made.settle()
        yield made
    finally:
        made.close()


@pytest.fixture
def world(running_world: World) -> World:
    """The shared host, brought back to endpoints without policy."""
    if running_world.etcd is None or running_world.etcd.poll() is not None:
        running_world.start_etcd()
    if running_world.felix is None or running_world.felix.poll() is not None:
        running_world.start_felix()
    running_world.clear()
    return running_world


@pytest.fixture
def new_world() -> Iterator[Callable[..., World]]:
    """Make hosts that no other test sees."""
    made: list[World] = []

    def make(*workloads: str) -> World:
        made.append(World(workloads or ("a", "b")))
        return made[-1]

    try:
        yield make
    finally:
        for one in made:
            one.close()


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def family(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(params=["ingress", "egress"])
def direction(request: pytest.FixtureRequest) -> str:
    return str(request.param)
