"""Containers get the MTU that Felix tells, unless their network says another."""

from __future__ import annotations

import pytest
from cni_world import World

from calico.dataplane.links import Links


def mtu_of(world: World, container: object) -> int:
    with Links(container.netns) as links:  # type: ignore[attr-defined]
        return links.get("eth0").mtu


@pytest.mark.parametrize(("told", "given", "mtu"), [("1430\n", 0, 1430), ("1430\n", 1300, 1300)])
def test_the_file_counts_where_the_network_is_silent(world: World, told: str, given: int, mtu: int) -> None:
    path = world.state_dir.parent / "mtu"
    path.write_text(told)
    try:
        container = world.container()
        container.add(**({"mtu": given} if given else {}))
        assert mtu_of(world, container) == mtu
        container.delete()
    finally:
        path.unlink()
