"""The syncer against a real etcd that dies, compacts, is restored from a backup or is emptied."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from calico.datastore.api import Op, SyncStatus, Update
from calico.datastore.etcd.backend import EtcdBackend
from calico.datastore.etcd.server import EtcdProcess
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY
from calico.datastore.sync.syncer import Syncer

pytestmark = pytest.mark.etcd

RESOURCES = "/calico/resources/v3/projectcalico.org/"
NODES = f"{RESOURCES}nodes/"
INFO = b'{"spec":{"clusterGUID":"g1","datastoreReady":true}}'
IN_SYNC, HELD = SyncStatus.IN_SYNC, SyncStatus.HELD

StartEtcd = Callable[..., Awaitable[EtcdProcess]]


class Replay:
    """A sink that replays what it is told and refuses redundant news."""

    def __init__(self) -> None:
        self.view: dict[str, bytes] = {}
        self.statuses: list[SyncStatus] = []
        self.reason = ""
        self.changes = 0

    @property
    def last(self) -> SyncStatus | None:
        return self.statuses[-1] if self.statuses else None

    def on_status(self, status: SyncStatus, reason: str = "") -> None:
        self.statuses.append(status)
        self.reason = reason

    def on_updates(self, updates: Sequence[Update], revision: int) -> None:
        assert revision >= 0
        self.changes += len(updates)
        for update in updates:
            if update.value is None:
                del self.view[update.key]
            else:
                assert self.view.get(update.key) != update.value
                self.view[update.key] = update.value


@asynccontextmanager
async def syncing(server: EtcdProcess, sink: Replay) -> AsyncIterator[Syncer]:
    backend = EtcdBackend(server.endpoints)
    syncer = Syncer(backend, [RESOURCES], sink, require_ready=True)
    task = asyncio.create_task(syncer.run())
    try:
        yield syncer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await backend.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


async def store_view(writer: EtcdBackend) -> dict[str, bytes]:
    return {kv.key: kv.value for kv in (await writer.list(RESOURCES)).items}


async def caught_up(sink: Replay, writer: EtcdBackend) -> None:
    """Wait until the sink has what the store has; fails by timeout with both views."""
    store = await store_view(writer)
    try:
        await until(lambda: sink.view == store and sink.last is IN_SYNC)
    except TimeoutError:
        assert (sink.view, sink.last) == (store, IN_SYNC)


@pytest.fixture
async def writer_of() -> AsyncIterator[Callable[[EtcdProcess], EtcdBackend]]:
    made: list[EtcdBackend] = []

    def make(server: EtcdProcess) -> EtcdBackend:
        made.append(EtcdBackend(server.endpoints))
        return made[-1]

    yield make
    for backend in made:
        await backend.close()


WriterOf = Callable[[EtcdProcess], EtcdBackend]


async def fill(writer: EtcdBackend, count: int = 30) -> None:
    await writer.txn([Op(CLUSTER_INFO_KEY, INFO), *(Op(f"{NODES}n{number}", b"1") for number in range(count))])


async def etcdctl(*args: str) -> None:
    if shutil.which("etcdctl") is None:
        pytest.skip("etcdctl is not installed")
    process = await asyncio.create_subprocess_exec(
        "etcdctl", *args, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env={"ETCDCTL_API": "3"}
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


async def take_backup(server: EtcdProcess, file: Path) -> None:
    await etcdctl("--endpoints", server.config.client_url, "snapshot", "save", str(file))


async def restore_backup(server: EtcdProcess, file: Path, start: StartEtcd) -> EtcdProcess:
    """The same member with the same ids on the data of an older backup, at the same address."""
    await server.kill()
    config = server.config
    fresh = config.data_dir.with_name("restored")
    await etcdctl(
        "snapshot",
        "restore",
        str(file),
        f"--name={config.name}",
        f"--data-dir={fresh}",
        f"--initial-cluster={config.name}={config.peer_url}",
        f"--initial-advertise-peer-urls={config.peer_url}",
        f"--initial-cluster-token={config.token}",
    )
    return await start(config.name, data_dir=fresh, client_url=config.client_url, peer_url=config.peer_url)


async def test_a_server_killed_and_started_again_costs_no_listing(start_etcd: StartEtcd, writer_of: WriterOf) -> None:
    server = await start_etcd()
    writer, sink = writer_of(server), Replay()
    await fill(writer)
    async with syncing(server, sink) as syncer:
        await until(lambda: sink.last is IN_SYNC)
        await server.kill()
        await until(lambda: not syncer.connected)
        await server.start()
        await server.wait_ready()
        await writer.wait_ready(10)
        await writer.txn([Op(f"{NODES}n0", b"2"), Op(f"{NODES}n1")])
        await caught_up(sink, writer)
        assert sink.changes == 31 + 2
        assert sink.statuses.count(IN_SYNC) == 1


async def test_compaction_while_away_costs_only_the_difference(start_etcd: StartEtcd, writer_of: WriterOf) -> None:
    server = await start_etcd()
    writer, sink = writer_of(server), Replay()
    await fill(writer)
    async with syncing(server, sink) as syncer:
        await until(lambda: sink.last is IN_SYNC)
        await writer.txn([Op(f"{NODES}n9", b"2")])
        await caught_up(sink, writer)
        await server.kill()
        await until(lambda: not syncer.connected)
        # The same data behind an address that the syncer does not know: it is away while others write.
        aside = await start_etcd("solo", data_dir=server.config.data_dir, peer_url=server.config.peer_url)
        other = writer_of(aside)
        await other.txn([Op(f"{NODES}n0", b"2"), Op(f"{NODES}n1"), Op(f"{NODES}n9", b"3")])
        await other.compact((await other.revision())[0])
        await aside.stop()
        await server.start()
        await server.wait_ready()
        await writer.wait_ready(10)
        await caught_up(sink, writer)
        assert sink.changes == 31 + 1 + 3
        assert sink.statuses.count(IN_SYNC) == 1


async def test_a_store_restored_with_the_same_ids_that_has_grown_past_us_leaves_no_ghosts(
    start_etcd: StartEtcd, writer_of: WriterOf, tmp_path: Path
) -> None:
    server = await start_etcd()
    writer, sink = writer_of(server), Replay()
    await fill(writer)
    await take_backup(server, tmp_path / "backup.db")
    before = await writer.revision()
    async with syncing(server, sink) as syncer:
        await until(lambda: sink.last is IN_SYNC)
        await writer.txn([Op(f"{NODES}ghost{number}", b"1") for number in range(5)])
        await caught_up(sink, writer)
        await server.kill()
        await until(lambda: not syncer.connected)
        restored = await restore_backup(server, tmp_path / "backup.db", start_etcd)
        await writer.wait_ready(10)
        for number in range(8):
            await writer.txn([Op(f"{NODES}late{number}", b"1")])
        after = await writer.revision()
        assert after[1] == before[1]  # ids tell nothing
        await caught_up(sink, writer)
        assert not any("ghost" in key for key in sink.view)
        assert restored.pid is not None


async def test_a_backup_that_would_lose_much_is_held_until_accepted(
    start_etcd: StartEtcd, writer_of: WriterOf, tmp_path: Path
) -> None:
    server = await start_etcd()
    writer, sink = writer_of(server), Replay()
    await fill(writer, 5)
    await take_backup(server, tmp_path / "backup.db")
    await writer.txn([Op(f"{NODES}m{number}", b"1") for number in range(40)])
    async with syncing(server, sink) as syncer:
        await until(lambda: sink.last is IN_SYNC)
        view = dict(sink.view)
        await restore_backup(server, tmp_path / "backup.db", start_etcd)
        await until(lambda: sink.last is HELD)
        assert sink.view == view
        assert "40 of 46 known keys would vanish" in sink.reason
        assert syncer.accept()
        await writer.wait_ready(10)
        await caught_up(sink, writer)


async def test_an_emptied_store_is_held_and_goes_on_when_it_is_filled_again(
    start_etcd: StartEtcd, writer_of: WriterOf
) -> None:
    server = await start_etcd()
    writer, sink = writer_of(server), Replay()
    await fill(writer)
    async with syncing(server, sink):
        await until(lambda: sink.last is IN_SYNC)
        view = dict(sink.view)
        await writer.delete_prefix("/calico/")
        await until(lambda: sink.last is HELD)
        assert sink.view == view
        assert "ClusterInformation/default is gone" in sink.reason
        await fill(writer)
        await writer.txn([Op(f"{NODES}n0", b"2")])
        await caught_up(sink, writer)


async def test_a_fresh_server_at_the_same_address_is_held(start_etcd: StartEtcd, writer_of: WriterOf) -> None:
    server = await start_etcd()
    writer, sink = writer_of(server), Replay()
    await fill(writer)
    async with syncing(server, sink):
        await until(lambda: sink.last is IN_SYNC)
        view = dict(sink.view)
        await server.kill()
        shutil.rmtree(server.config.data_dir)
        await server.start()
        await until(lambda: sink.last is HELD)
        assert sink.view == view
