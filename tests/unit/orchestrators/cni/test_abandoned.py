"""The sweep of what no DEL took away."""

from __future__ import annotations

from pathlib import Path

from calico.datastore.api import Op
from calico.datastore.memory import MemoryBackend
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY
from calico.datastore.typed.store import Store
from calico.ipam.allocator import Allocator
from calico.model.keys import kind_prefix
from calico.orchestrators.cni.commands.abandoned import Sweeper
from calico.orchestrators.cni.commands.agent import Agent, Settings
from calico.orchestrators.cni.host.records import Record
from calico.orchestrators.cni.serving.daemon import utc_now
from calico.orchestrators.cni.workload.names import Attached

READY = b'{"kind":"ClusterInformation","metadata":{"name":"default"},"spec":{"datastoreReady":true}}'


def agent_at(directory: Path, backend: MemoryBackend) -> Agent:
    return Agent(Settings(node="a", records=str(directory)), Store(backend), Allocator(backend, clock=utc_now))


async def test_only_the_very_namespace_at_its_path_keeps_an_attachment(tmp_path: Path) -> None:
    """A reboot leaves the empty files on which namespaces were mounted; a path may lead to another one by now."""
    backend = MemoryBackend()
    await backend.txn([Op(CLUSTER_INFO_KEY, READY)])
    agent = agent_at(tmp_path / "records", backend)
    (tmp_path / "cni-1234").touch()
    own = Path("/proc/self/ns/net")
    paths = {"a": (tmp_path / "cni-1234", 0), "b": (own, 1), "c": (own, own.stat().st_ino), "d": (own, 0)}
    for letter, (path, inode) in paths.items():
        attached = Attached(network="net", container_id=letter * 16, interface="eth0", node="a")
        agent.records.write(Record(attached=attached, host_interface="calihst0", netns=str(path), inode=inode))
    sweeper = Sweeper(agent, 1.0)
    await sweeper.sweep()
    await sweeper.sweep()
    assert {record.attached.container_id[0] for record in agent.records.all()} == {"c", "d"}


async def test_an_attachment_that_cannot_be_removed_holds_up_no_other(tmp_path: Path) -> None:
    backend = MemoryBackend()
    await backend.txn([Op(CLUSTER_INFO_KEY, READY)])
    agent = agent_at(tmp_path / "records", backend)
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
