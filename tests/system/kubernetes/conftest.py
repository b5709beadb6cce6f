"""One cluster in the lab for all tests of this room."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator

import pytest

from calico.lab.topology import parse_topology
from cluster.binaries import kubernetes_binaries
from cluster.network import Network
from netpol.cases import FILES
from system.kubernetes.standard import standard_world
from system.kubernetes.world import KubernetesWorld, topology


@pytest.fixture(scope="session")
def world() -> Iterator[KubernetesWorld]:
    """Control plane, controllers, hosts; pods come with the first case, and stay while the next has them too."""
    kubernetes_binaries()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a run cut short cleans up as well
    worlds = [standard_world(), *(json.loads(path.read_text())["world"] for path in FILES)]
    with Network(parse_topology(json.dumps(topology("knetpol", worlds)))) as network:
        yield KubernetesWorld(network)
