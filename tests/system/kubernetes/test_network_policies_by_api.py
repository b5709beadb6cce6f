"""Published NetworkPolicy cases through a real API server: controllers, etcd, Felix, and what packets say."""

import json
from pathlib import Path

import pytest

from netpol.cases import ABSENT, FILES, expected, wrong
from system.kubernetes.world import KubernetesWorld

pytestmark = [
    pytest.mark.lab, pytest.mark.kubernetes, pytest.mark.timeout(300), pytest.mark.xdist_group("kubernetes")
]  # fmt: skip


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
