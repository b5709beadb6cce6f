"""Published NetworkPolicy cases through a real API server: controllers, etcd, Felix, and what packets say."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from calico.lab.topology import parse_topology
from cluster.network import Network
from netpol.cases import ABSENT, FILES, expected, wrong
from system.kubernetes.world import KubernetesWorld, topology

LAB = "knetpol"
pytestmark = [
    pytest.mark.lab, pytest.mark.kubernetes, pytest.mark.timeout(300), pytest.mark.xdist_group("kubernetes")
]  # fmt: skip


@pytest.fixture(scope="module")
def world() -> Iterator[KubernetesWorld]:
    worlds = [json.loads(path.read_text())["world"] for path in FILES]
    with Network(parse_topology(json.dumps(topology(LAB, worlds)))) as network:
        yield KubernetesWorld(network)


@pytest.mark.skipif(not FILES, reason=ABSENT)
@pytest.mark.parametrize("path", FILES or [Path("absent")], ids=lambda path: path.stem)
def test_the_api_server_gives_the_reachability_that_kubernetes_documents(path: Path, world: KubernetesWorld) -> None:
    text = path.read_text()
    if '"endPort"' in text:
        pytest.skip("Kubernetes 1.20 has no endPort: its API server drops the field")
    case = json.loads(text)
    namespaces, endpoints = case["world"]["namespaces"], case["world"]["endpoints"]
    for number, step in enumerate(case["steps"]):
        namespaces, endpoints = step.get("namespaces", namespaces), step.get("endpoints", endpoints)
        world.become(namespaces, endpoints, step["policies"], step.get("cnps", ()))
        assert not wrong(world.targets, expected(step)), f"step {number}: {step['description']}"
