"""The CNI daemon works with exactly what its systemd unit leaves it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cni_world import NOTHING, World

from calico.cli.node.layout import UNIT_SOURCES

_NUMBERS = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}


def _allowed() -> list[str]:
    lines = (UNIT_SOURCES / "calico-cni.service").read_text().splitlines()
    return next(line.partition("=")[2].split() for line in lines if line.startswith("CapabilityBoundingSet="))


@pytest.fixture
def confined(world: World) -> Iterator[World]:
    """The shared host with a daemon of few rights; the next test gets an ordinary one."""
    world.kill("daemon")
    kept = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in _allowed())])
    world.start_daemon(under=("setpriv", "--no-new-privs", "--inh-caps=-all", f"--bounding-set={kept}"))
    yield world
    world.kill("daemon")


def test_a_daemon_with_the_rights_of_its_unit_attaches_and_detaches(confined: World) -> None:
    status = Path(f"/proc/{confined.processes['daemon'].pid}/status").read_text()
    effective = int(next(line for line in status.splitlines() if line.startswith("CapEff:")).split()[1], 16)
    assert effective == sum(1 << _NUMBERS[name] for name in _allowed())
    first, second = confined.container(), confined.container()
    address = first.add(ipam={"type": "calico-ipam", "assign_ipv6": "true"}).address(4)
    second.add()
    with first.receives(7000) as receiver:
        assert second.sends_datagram(address, 7000, receiver)
    first.delete()
    second.delete()
    assert confined.leftovers == NOTHING
