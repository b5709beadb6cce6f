"""The sweep of what no DEL took away."""

from __future__ import annotations

from pathlib import Path

from calico.datastore.api import Op
from calico.datastore.memory import MemoryBackend
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY
from calico.datastore.typed.store import Store
from calico.ipam.allocator import Allocator
from calico.model.keys import kind_prefix
from calico.orchestrators.cni.abandoned import Sweeper
from calico.orchestrators.cni.agent import Agent, Settings
from calico.orchestrators.cni.daemon import utc_now
from calico.orchestrators.cni.names import Attached
from calico.orchestrators.cni.records import Record

READY = b'{"kind":"ClusterInformation","metadata":{"name":"default"},"spec":{"datastoreReady":true}}'


async def test_an_attachment_that_cannot_be_removed_holds_up_no_other(tmp_path: Path) -> None:
    backend = MemoryBackend()
    await backend.txn([Op(CLUSTER_INFO_KEY, READY)])
    agent = Agent(
        Settings(node="a", records=str(tmp_path / "records")), Store(backend), Allocator(backend, clock=utc_now)
    )
    for number in range(4):
        attached = Attached(network="net", container_id=f"{number}" * 16, interface="eth0", node="a")
        record = Record(attached=attached, host_interface=f"calihst{number}", netns=str(tmp_path / "gone"))
        agent.records.write(record)
        if number < 3:
            key = kind_prefix("WorkloadEndpoint", "default") + attached.endpoint_name
            await backend.txn([Op(key, b"cannot be read")])
    sweeper = Sweeper(agent, 1.0)
    await sweeper.sweep()
    assert len(list(agent.records.all())) == 4, "once is no evidence"
    await sweeper.sweep()
    assert {record.attached.container_id[0] for record in agent.records.all()} == {"0", "1", "2"}
