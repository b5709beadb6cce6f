"""A compute host that the tests of this folder share."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "felix"))
from compute_world import ComputeWorld


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.root)
            item.add_marker(pytest.mark.etcd)
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="needs root to make network namespaces"))


@pytest.fixture(scope="session")
def running_host() -> Iterator[ComputeWorld]:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a run cut short cleans up as well
    made = ComputeWorld({"a": "stateful", "b": "stateless", "c": "slaac", "d": "stateful"})
    try:
        made.start_etcd()
        made.write_cloud()
        made.start_felix(FELIX_INTERFACEPREFIX="cali,tap", FELIX_CLUSTERTYPE="openstack")
        made.start_nova()
        made.start_agent()
        made.settle()
        made.until_answered()
        yield made
    finally:
        made.close()


@pytest.fixture
def host(running_host: ComputeWorld) -> ComputeWorld:
    """The shared host, with etcd and the agent running and the ports as they were."""
    if running_host.etcd is None:
        running_host.start_etcd()
    running_host.write_subnet4()
    running_host.write_ports()
    if running_host.agent is None or running_host.agent.poll() is not None:
        running_host.start_agent()
    running_host.settle()
    running_host.until_answered()
    return running_host
