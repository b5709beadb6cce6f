"""``calico ipam`` on a real etcd, and against the kernel of a network namespace."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from calico.datastore.api import Op
from calico.datastore.etcd.backend import EtcdBackend
from calico.datastore.typed.initialise import initialise
from calico.datastore.typed.ready import set_ready
from calico.datastore.typed.store import Store
from calico.ipam.allocator import Allocator
from calico.ipam.requests import AssignRequest
from calico.model.ippool import IPPool, IPPoolSpec
from calico.model.keys import kind_prefix
from calico.model.meta import Metadata
from calico.model.node import Node, NodeSpec
from calico.model.workload import WorkloadEndpoint, WorkloadEndpointSpec

pytestmark = pytest.mark.etcd

Run = Callable[..., subprocess.CompletedProcess[str]]


class World:
    """A cluster with two hosts and a pool, and the command on it."""

    def __init__(self, backend: EtcdBackend, calico: Run, directory: Path) -> None:
        self.directory = directory
        self.backend, self.store = backend, Store(backend)
        self._calico = calico
        self.allocator = Allocator(backend, clock=lambda: datetime.now(UTC))

    async def prepare(self) -> None:
        await self.backend.delete_prefix("/calico/")
        await initialise(self.store, "test", "")
        for name in ("here", "there"):
            await self.store.create(Node(metadata=Metadata(name=name)))
        await self.pool("p", "10.77.0.0/24")

    async def pool(self, name: str, cidr: str) -> None:
        await self.store.create(IPPool(metadata=Metadata(name=name), spec=IPPoolSpec(cidr=cidr, block_size=28)))

    async def address(self, handle: str, host: str = "here", *, used: bool = False) -> str:
        request = AssignRequest(hostname=host, v4=1, handle=handle, attrs={"node": host})
        address = str((await self.allocator.auto_assign(request)).v4[0].ip)
        if used:
            spec = WorkloadEndpointSpec(
                orchestrator="cni", node=host, container_id=handle, endpoint="eth0", ip_networks=(f"{address}/32",),
                interface_name=f"cali{handle}",
            )  # fmt: skip
            metadata = Metadata(name=f"{host}-cni-{handle}-eth0", namespace="default")
            await self.store.create(WorkloadEndpoint(metadata=metadata, spec=spec))
        return address

    async def run(self, *arguments: str, code: int = 0) -> str:
        done = await asyncio.to_thread(self._calico, *arguments)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    async def report(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(await self.run("ipam", *arguments, "-o", "json", code=code))


@pytest.fixture
async def world(etcd_url: str, calico: Run, tmp_path: Path) -> AsyncIterator[World]:
    backend = EtcdBackend([etcd_url])
    world = World(backend, calico, tmp_path)
    await world.prepare()
    yield world
    await backend.close()


@pytest.fixture
def local_address() -> Iterator[str]:
    """An address on the loopback interface of this machine, of a range for documentation."""
    address = "10.77.0.250"
    subprocess.run(["ip", "addr", "add", f"{address}/32", "dev", "lo"], check=True)
    yield address
    subprocess.run(["ip", "addr", "del", f"{address}/32", "dev", "lo"], check=True)


async def test_show_counts_pools_and_blocks_and_tells_of_one_address(world: World) -> None:
    address = await world.address("one")
    await world.address("two")
    (pool,) = await world.report("show", "--show-blocks")
    assert (pool["name"], pool["total"], pool["inUse"], pool["free"]) == ("p", 256, 2, 254)
    assert [(block["total"], block["inUse"], block["owner"]) for block in pool["blocks"]] == [(16, 2, "host:here")]
    table = (await world.run("ipam", "show", "--show-blocks")).splitlines()
    assert table[0].split("  ")[0] == "GROUPING"
    assert table[1].split() == ["IP", "Pool", "10.77.0.0/24", "256", "2", "(1%)", "254", "(99%)"]
    found = await world.report("show", "--ip", address)
    assert found["inUse"]
    assert (found["allocation"]["handle"], found["allocation"]["attrs"]) == ("one", {"node": "here"})
    assert "10.77.0.99 is not in use" in await world.run("ipam", "show", "--ip", "10.77.0.99", code=1)


async def test_borrowed_addresses_are_shown_with_their_lender(world: World) -> None:
    for number in range(16):
        await world.allocator.assign_ip(f"10.77.0.{number}", hostname="here", handle=f"h.{number}")
    attrs = {"node": "there", "namespace": "default", "pod": "web"}
    await world.allocator.release_by_handle("h.5")
    await world.allocator.assign_ip("10.77.0.5", hostname="there", handle="guest", attrs=attrs)
    (row,) = await world.report("show", "--show-borrowed")
    assert row == {
        "address": "10.77.0.5",
        "node": "there",
        "block": "10.77.0.0/28",
        "owner": "here",
        "kind": "pod",
        "held_by": "default/web",
    }


async def test_settings_are_changed_one_by_one_and_refused_when_they_contradict(world: World) -> None:
    assert (await world.report("configure"))["StrictAffinity"] is False
    refused = await world.run("ipam", "configure", "--max-blocks-per-host", "4", code=1)
    assert "IPAM configuration: maxBlocksPerHost: needs strict affinity" in refused
    await world.run("ipam", "configure", "--strictaffinity=true", "--max-blocks-per-host", "4")
    await world.run("ipam", "configure", "--ip-cooldown-seconds", "30")
    stored = await world.backend.get("/calico/ipam/v2/config")
    assert stored is not None
    assert json.loads(stored.value) == {
        "strict_affinity": True,
        "auto_allocate_blocks": True,
        "maxBlocksPerHost": 4,
        "ipCooldownSeconds": 30,
    }
    assert (await world.report("show", "--show-configuration"))["IPCooldownSeconds"] == 30


async def test_a_leak_is_explained_reported_and_released_from_the_report(world: World, tmp_path: Path) -> None:
    leaked, _ = await world.address("gone"), await world.address("used", used=True)
    found = await world.report("check", "--no-kernel", "--report", str(tmp_path / "report"), code=1)
    (finding,) = found["findings"]
    assert (finding["code"], finding["address"], finding["handle"]) == ("address-leaked", leaked, "gone")
    assert "nothing uses it" in finding["explanation"]
    assert f"calico ipam release --ip {leaked}" in finding["proposal"]
    assert f"Released {leaked}" in await world.run("ipam", "release", "--from-report", str(tmp_path / "report"))
    assert (await world.report("check", "--no-kernel"))["findings"] == []


async def test_an_address_given_out_anew_since_the_report_is_not_released(world: World, tmp_path: Path) -> None:
    leaked = await world.address("gone")
    await world.run("ipam", "check", "--no-kernel", "--report", str(tmp_path / "report"), code=1)
    await world.allocator.release_by_handle("gone")
    await world.allocator.assign_ip(leaked, hostname="here", handle="new")
    said = await world.run("ipam", "release", "--from-report", str(tmp_path / "report"), code=1)
    assert "held under handle 'new', not 'gone'" in said
    assert await world.allocator.ips_by_handle("new") == (leaked,)


async def test_a_report_of_another_cluster_is_refused(world: World, tmp_path: Path) -> None:
    (tmp_path / "report").write_text('{"clusterGUID":"other","findings":[]}')
    assert "the report is of cluster 'other'" in await world.run(
        "ipam", "release", "--from-report", str(tmp_path / "report"), code=1
    )


async def test_an_address_that_an_endpoint_has_is_released_only_by_force(world: World) -> None:
    address = await world.address("used", used=True)
    said = await world.run("ipam", "release", "--ip", address, code=1)
    assert f"not released: {address}: WorkloadEndpoint default/here-cni-used-eth0 has it" in said
    assert f"Released {address}" in await world.run("ipam", "release", "--ip", address, "--force")


@pytest.mark.root
async def test_an_endpoint_without_a_route_on_its_host_is_told(world: World) -> None:
    address = await world.address("used", used=True)
    findings = (await world.report("check", "--node", "here", code=1))["findings"]
    assert [(each["code"], each["address"]) for each in findings] == [("address-without-route", address)]
    assert (await world.report("check", "--node", "there"))["findings"] == []


@pytest.mark.root
async def test_garbage_is_marked_waits_and_is_released_with_its_mark(world: World) -> None:
    leaked = await world.address("gone")
    first = await world.report("gc", "--node", "here")
    assert (first["marked"], first["released"]) == ([leaked], [])
    (mark,) = await world.report("gc", "--show")
    assert (mark["address"], mark["handle"], mark["by"]) == (leaked, "gone", "here")
    waiting = await world.report("gc", "--node", "here")
    assert waiting["waiting"][leaked].startswith("grace ends in")
    other = await world.report("gc", "--node", "there", "--grace", "0")
    assert other["waiting"] == {leaked: "here must look whether it has it: run calico ipam gc there"}
    assert (await world.report("gc", "--node", "here", "--grace", "0", "--dry-run"))["released"] == [leaked]
    assert (await world.report("gc", "--node", "here", "--grace", "0"))["released"] == [leaked]
    assert await world.report("gc", "--show") == []
    assert await world.allocator.get_attributes(leaked) is None


@pytest.mark.root
async def test_an_empty_block_of_a_pool_that_does_not_select_the_host_any_more_is_given_up(world: World) -> None:
    await world.address("h1", used=True)
    (block,) = await world.allocator.affinities_of("here")
    pool = await world.store.get("IPPool", "p")
    assert isinstance(pool, IPPool)
    spec = msgspec.structs.replace(pool.spec, node_selector="zone == 'west'")
    await world.store.update(msgspec.structs.replace(pool, spec=spec))
    assert (await world.report("gc", "--node", "here"))["blocks"] == []  # it is in use
    await world.allocator.release_by_handle("h1")
    await world.allocator.ensure_affinity("here", block)
    assert (await world.report("gc", "--node", "here", "--dry-run"))["blocks"] == [block]
    assert (await world.report("gc", "--node", "there"))["blocks"] == []
    assert (await world.report("gc", "--node", "here"))["blocks"] == [block]
    assert await world.allocator.affinities_of("here") == ()


async def test_garbage_that_found_a_user_loses_its_mark(world: World) -> None:
    leaked = await world.address("late")
    await world.run("ipam", "gc", "--node", "here")
    spec = WorkloadEndpointSpec(
        orchestrator="cni", node="here", container_id="late", endpoint="eth0", ip_networks=(f"{leaked}/32",),
        interface_name="calilate",
    )  # fmt: skip
    metadata = Metadata(name="here-cni-late-eth0", namespace="default")
    await world.store.create(WorkloadEndpoint(metadata=metadata, spec=spec))
    answer = await world.report("gc", "--node", "here", "--grace", "0")
    assert answer["unmarked"] == {leaked: "it is used now, or was released"}
    assert answer["released"] == []


@pytest.mark.root
async def test_what_is_on_an_interface_of_this_host_is_never_freed(world: World, local_address: str) -> None:
    await world.allocator.assign_ip(local_address, hostname="here", handle="alive", attrs={"node": "here"})
    for _ in range(2):
        answer = await world.report("gc", "--node", "here", "--grace", "0")
        assert answer["waiting"] == {local_address: "an interface of here has it"}
    assert "an interface of" in await world.run("ipam", "release", "--ip", local_address, code=1)
    assert "is not released" in await world.run("ipam", "check", "--node", "here", code=1)
    assert await world.allocator.get_attributes(local_address) is not None


@pytest.mark.root
async def test_nothing_is_freed_while_an_endpoint_cannot_be_read(world: World) -> None:
    leaked = await world.address("gone")
    await world.run("ipam", "gc", "--node", "here")
    await world.backend.txn([Op(f"{kind_prefix('WorkloadEndpoint')}default/here-cni-x-eth0", b"{")])
    why = "WorkloadEndpoint default/here-cni-x-eth0 cannot be read, and may have it"
    assert (await world.report("gc", "--node", "here", "--grace", "0"))["waiting"] == {leaked: why}
    assert why in await world.run("ipam", "release", "--ip", leaked, code=1)
    assert await world.allocator.ips_by_handle("gone") == (leaked,)


async def test_a_locked_pool_is_split_and_its_addresses_stay(world: World) -> None:
    address = await world.address("one", used=True)
    assert "must be locked" in await world.run("ipam", "split", "4", "--name", "p", code=1)
    await set_ready(world.store, False)
    assert "power of two" in await world.run("ipam", "split", "3", "--name", "p", code=1)
    assert "too small" in await world.run("ipam", "split", "32", "--name", "p", code=1)
    assert "split-p-3 (10.77.0.192/26)" in await world.run("ipam", "split", "4", "--cidr", "10.77.0.0/24")
    pools = [pool for pool in await world.store.list("IPPool") if isinstance(pool, IPPool)]
    assert [(pool.metadata.name, pool.spec.cidr) for pool in pools] == [
        (f"split-p-{index}", f"10.77.0.{64 * index}/26") for index in range(4)
    ]
    await set_ready(world.store, True)
    assert (await world.report("check", "--no-kernel"))["findings"] == []
    assert await world.allocator.ips_by_handle("one") == (address,)


async def test_a_pool_is_migrated_once_nobody_uses_it(world: World) -> None:
    address = await world.address("one", used=True)
    await world.pool("new", "10.78.0.0/24")
    assert "not done" in await world.run("ipam", "migrate", "p", "new")
    said = await world.run("ipam", "migrate", "p", "new", "--yes", code=1)
    assert "Disable IPPool p" in said
    assert f"{address} WorkloadEndpoint default/here-cni-one-eth0" in said
    await world.store.delete("WorkloadEndpoint", "here-cni-one-eth0", "default")
    await world.allocator.release_by_handle("one")
    assert (await world.address("two")).startswith("10.78.0.")
    assert "Delete IPPool p" in await world.run("ipam", "migrate", "p", "new", "--yes")
    assert [pool.metadata.name for pool in await world.store.list("IPPool")] == ["new"]
    assert "10.77" not in await world.run("ipam", "show", "--show-blocks")


async def test_deleting_a_node_frees_the_addresses_and_blocks_that_it_had(world: World) -> None:
    await world.address("one", "there", used=True)
    tunnel = await world.address("vxlan-tunnel-addr-there", "there")
    node = await world.store.get("Node", "there")
    assert isinstance(node, Node)
    await world.store.update(msgspec.structs.replace(node, spec=NodeSpec(ipv4_vxlan_tunnel_addr=tunnel)))
    await world.run("delete", "node", "there")
    assert (await world.backend.list("/calico/ipam/v2/")).items == ()


async def test_blocks_of_a_host_whose_node_vanished_are_given_up(world: World) -> None:
    await world.address("one", "there")
    await world.store.delete("Node", "there")  # by a store that knows of no IPAM
    codes = {each["code"] for each in (await world.report("check", "--no-kernel", code=1))["findings"]}
    assert codes == {"address-leaked", "affinity-of-no-node"}
    await world.run("ipam", "release", "--node", "there", "--handle", "one")
    assert (await world.report("check", "--no-kernel"))["findings"] == []
    assert "exists" in await world.run("ipam", "release", "--node", "here", code=1)


async def test_deleting_a_pool_gives_its_blocks_up(world: World) -> None:
    await world.address("one", used=True)
    await world.allocator.ensure_affinity("there", "10.77.0.240/28")
    await world.run("delete", "ippool", "p")
    assert await world.allocator.affinities_of("here") == ()
    assert await world.allocator.affinities_of("there") == ()
    blocks = (await world.backend.list("/calico/ipam/v2/assignment/")).items
    assert len(blocks) == 1  # the one in use, which goes with its last address
    assert json.loads(blocks[0].value)["affinity"] is None


async def test_a_pool_with_blocks_of_another_size_than_those_still_in_use_is_refused(world: World) -> None:
    await world.address("one", used=True)
    await world.run("delete", "ippool", "p")
    manifest = "{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: q}, spec: {cidr: 10.77.0.0/24"
    file = world.directory / "pool.yaml"
    file.write_text(manifest + ", blockSize: 26}}")
    said = await world.run("create", "-f", str(file), code=1)
    assert "spec.blockSize: block 10.77.0." in said
    assert "must be 28" in said
    file.write_text(manifest + ", blockSize: 28}}")
    await world.run("create", "-f", str(file))
