"""A host with etcd, Felix and the daemon that tests share; each begins with nothing attached."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cni_world import NOTHING, World, until


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
        made.install()
        yield made
    finally:
        for name in ("felix", "daemon"):
            print(f"--- {name}\n{made.log(name)}")
        made.close()


@pytest.fixture
def world(running_world: World) -> Iterator[World]:
    """The shared host; whatever a test did, everything runs again and nothing is attached."""
    made = running_world
    for name, start in (("etcd", made.start_etcd), ("felix", made.start_felix), ("daemon", made.start_daemon)):
        if name not in made.processes or made.processes[name].poll() is not None:
            made.processes.pop(name, None)
            start()
    made.set_ready(True)
    made.cluster()
    yield made
    for name in made.names[1:]:
        made.ip(made.host, "link set lo up")
        from calico.dataplane.netns import delete_netns

        delete_netns(name)
    del made.names[1:]
    if made.leftovers != NOTHING:
        sweep(made)


def sweep(world: World) -> None:
    """After a test that failed, so that the next has nothing to do with it."""
    for prefix in ("/calico/resources/v3/projectcalico.org/workloadendpoints/", "/calico/ipam/v2/"):
        world.etcdctl("del", "--prefix", prefix)
    for name in world.cables:
        world.ip(world.host, f"link del {name}")
    for path in world.state_dir.glob("*.json"):
        path.unlink()
    world.kill("daemon")
    until(lambda: not world.cables, "the host has no cables")
