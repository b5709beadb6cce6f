"""One cloud for all tests of this folder: two compute hosts with an instance each, and a machine outside."""

from __future__ import annotations

import signal
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from calico.lab.down import take_down
from calico.lab.topology import parse_topology
from calico.lab.up import bring_up
from calico.lab.wait import wait_ready
from cloud import Cloud, needed

_UP_S = 240.0
_TOPOLOGY = """\
name: {name}
hosts: [{{name: compute1}}, {{name: compute2}}]
externals: [{{name: outside}}]
pools: []
openstack:
  metadataSecret: a secret of the lab
  settings: {{agent_report_interval_s: 1, audit_interval_s: 0, isolation: network+router, subnet_pools: true}}
resources:
  - apiVersion: projectcalico.org/v3
    kind: FelixConfiguration
    metadata: {{name: default}}
    spec:
      interfacePrefix: cali,tap
      endpointReportingEnabled: true
      workloadSourceSpoofing: Any
      reportingInterval: 3s
      reportingTTL: 15s
      endpointReportingDelay: 0s
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here, reason = Path(__file__).parent, needed()
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.lab)
            item.add_marker(pytest.mark.timeout(300))
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a run cut short cleans up as well
    name = f"o{uuid.uuid4().hex[:8]}"
    try:
        state, _ = bring_up(parse_topology(_TOPOLOGY.format(name=name)), lambda *_: None)
        wait_ready(state, lambda *_: None, _UP_S)
        made = Cloud(name)
        made.prepare()
        yield made
        made.close()
        assert made.resync()["objects"] == [], "after all tests etcd is not what Neutron says"
    finally:
        take_down(name)
