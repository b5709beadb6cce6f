"""Hosts of ours beside BGP speakers that are not ours, each in a namespace, on one Ethernet with an etcd."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from exabgp_speaker import ExaBgp
from frr_speaker import Frr
from gobgp_speaker import GoBgp
from speaker import Speaker

from functional.bgp.conftest import fabric, wires

__all__ = ["fabric", "wires"]


@pytest.fixture
def speaker(fabric: Any) -> Iterator[Callable[..., Speaker]]:
    """Makes speakers by kind, number of the host and AS number; all end with the test."""
    made: list[Speaker] = []

    def make(kind: str, number: int, as_number: int) -> Speaker:
        (cls,) = [cls for cls in (Frr, GoBgp, ExaBgp) if cls.name == kind]
        made.append(cls(fabric.bare_host(number), as_number))
        return made[-1]

    try:
        yield make
    finally:
        for one in made:
            one.stop()
