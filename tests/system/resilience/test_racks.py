"""A routed fabric: racks with a ToR each, a spine router, and a partner outside that speaks BGP."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180), pytest.mark.xdist_group("resilience")]

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "lab" / "racks.yaml"
SERVICES = [("TCP", 80), ("UDP", 53), ("ICMP", None)]


@pytest.fixture(scope="module")
def racks(start_lab: Any) -> Iterator[Any]:
    with start_lab({**yaml.safe_load(EXAMPLE.read_text()), "name": "resilientracks"}) as lab:
        yield lab


def test_all_reach_each_other_and_the_outside_until_a_policy_denies_everything(racks: Any) -> None:
    workloads = [plan.workload.name for plan in racks.layout.workloads]
    machines = [*workloads, *(plan.external.name for plan in racks.layout.externals)]
    assert len(racks.layout.racks) > 1
    assert len(machines) > len(workloads)
    assert not racks.closed(machines, machines, SERVICES)
    racks.programmed(racks.document("GlobalNetworkPolicy", "closed", selector="all()", types=["Ingress", "Egress"]))
    assert not racks.opened(machines, machines, SERVICES)
    racks.programmed(delete=[("GlobalNetworkPolicy", "", "closed")])
    assert not racks.closed(machines, machines, SERVICES)
