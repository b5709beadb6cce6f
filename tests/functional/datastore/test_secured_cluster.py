"""Three members that want certificates and tokens: followed through faults and renewals without a restart."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from calico.datastore.access.plan import plan_roles
from calico.datastore.access.roles import COMPONENTS, accounts
from calico.datastore.api import Op, SyncStatus, Update
from calico.datastore.etcd.auth import EtcdAuth
from calico.datastore.etcd.backend import EtcdBackend, TLSFiles
from calico.datastore.etcd.server import EtcdProcess
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY
from calico.datastore.sync.syncer import Syncer
from calico.errors import InvalidInput, Transient, Uncertain
from calico.model.keys import RESOURCE_PREFIX as R

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(240)]

StartEtcd = Callable[..., Awaitable[EtcdProcess]]
Connect = Callable[..., EtcdBackend]

INFO = b'{"spec":{"clusterGUID":"g1","datastoreReady":true}}'
USER = "calico-felix-h1"


class Sink:
    def __init__(self) -> None:
        self.view: dict[str, bytes] = {}
        self.statuses: list[SyncStatus] = []

    def on_status(self, status: SyncStatus, reason: str = "") -> None:
        self.statuses.append(status)

    def on_updates(self, updates: Sequence[Update], revision: int) -> None:
        for update in updates:
            if update.value is None:
                del self.view[update.key]
            else:
                assert self.view.get(update.key) != update.value
                self.view[update.key] = update.value


class Cluster:
    """Members, a writer who is the operator, and a follower who is Felix: certificate, user and password file."""

    def __init__(self, members: list[EtcdProcess], certificates: Any, connect: Connect, password: Path) -> None:
        self.members, self.certificates, self.password = members, certificates, password
        self.urls = [member.config.client_url for member in members]
        self.root = connect(*self.urls, tls=certificates.make("root"))
        self.writer = connect(*self.urls, tls=certificates.make("calico-operator"))
        self.follower = connect(*self.urls, tls=certificates.make(USER), username=USER, password=password)
        self.sink = Sink()
        self.syncer = Syncer(self.follower, [R], self.sink, require_ready=True)

    async def write(self, name: str, value: bytes) -> None:
        """A put that is repeated until it is certain."""
        async with asyncio.timeout(60):
            while True:
                try:
                    await self.writer.txn([Op(f"{R}nodes/{name}", value)])
                    return
                except Transient:  # also Uncertain: the same put twice is one
                    await asyncio.sleep(0.1)

    async def follows(self) -> None:
        """Something is written, and arrives."""
        name, value = "n", secrets.token_bytes(8).hex().encode()
        await self.write(name, value)
        async with asyncio.timeout(60):
            while self.sink.view.get(f"{R}nodes/{name}") != value:
                await asyncio.sleep(0.02)
        store = {kv.key: kv.value for kv in (await self.read()).items}
        assert self.sink.view == store
        assert self.sink.statuses.count(SyncStatus.IN_SYNC) == 1

    async def read(self) -> Any:
        async with asyncio.timeout(60):
            while True:
                try:
                    return await self.writer.list(R)
                except Transient:
                    await asyncio.sleep(0.1)

    async def leader(self) -> EtcdProcess:
        async with asyncio.timeout(60):
            while True:
                for index, member in enumerate(await self.root.members()):
                    if member.member_id and member.member_id == member.leader:
                        return self.members[index]
                await asyncio.sleep(0.1)

    def followed_member(self) -> EtcdProcess:
        """That to which the follower is connected."""
        url = self.follower.client.current.url
        return next(member for member in self.members if member.config.client_url == url)

    async def restart(self, member: EtcdProcess) -> None:
        await member.start()
        client = EtcdBackend([member.config.client_url], tls=self.certificates.make("root", "probe"))
        await client.wait_ready(60)
        await client.close()


@pytest.fixture
async def cluster(
    start_etcd: StartEtcd, connect: Connect, certificates: Any, free_port: Callable[[], int], tmp_path: Path
) -> AsyncIterator[Cluster]:
    peers = {name: f"http://127.0.0.1:{free_port()}" for name in "abc"}
    tls = certificates.make("server")
    members = [
        await start_etcd(
            name, peer_url=peers[name], cluster=peers, tls=tls, wait=False, extra_args=("--auth-token-ttl=2",)
        )
        for name in peers
    ]
    await asyncio.gather(*(member.wait_ready(60) for member in members))
    made = Cluster(members, certificates, connect, tmp_path / "password")
    made.password.write_text("first\n")
    await made.root.txn([Op(CLUSTER_INFO_KEY, INFO)])
    auth = EtcdAuth(made.root)
    for step in plan_roles(accounts(COMPONENTS, ["h1"]), await auth.read()):
        await auth.apply(step, "first" if step.subject == USER else "")
    await auth.enable("break glass")
    task = asyncio.create_task(made.syncer.run())
    await made.follows()
    yield made
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_leader_dies_and_another_is_found(cluster: Cluster) -> None:
    for _ in range(2):
        leader = await cluster.leader()
        await leader.kill()
        await cluster.follows()
        await cluster.restart(leader)
        await cluster.follows()


async def test_a_member_that_stands_still_is_left(cluster: Cluster) -> None:
    member = cluster.followed_member()
    await member.pause()
    await cluster.follows()
    assert cluster.followed_member() is not member
    await member.kill()
    await cluster.restart(member)
    await cluster.follows()


async def test_all_members_start_again_one_after_the_other(cluster: Cluster) -> None:
    """Tokens are known to one member each and are forgotten when it ends."""
    for member in cluster.members:
        await member.stop()
        await cluster.follows()
        await cluster.restart(member)
    await cluster.follows()


async def test_tokens_expire_and_nobody_notices(cluster: Cluster) -> None:
    token = await cluster.follower.client.token(cluster.follower.client.current)
    await asyncio.sleep(4)
    assert await cluster.follower.get(CLUSTER_INFO_KEY) is not None
    assert await cluster.follower.client.token(cluster.follower.client.current) != token
    await cluster.follows()


async def test_a_new_password_is_read_from_its_file(cluster: Cluster) -> None:
    await EtcdAuth(cluster.root).set_password(USER, "second")
    with pytest.raises(InvalidInput, match="wrong etcd user name or password"):
        await cluster.follower.get(CLUSTER_INFO_KEY)
    cluster.password.write_text("second\n")
    assert await cluster.follower.get(CLUSTER_INFO_KEY) is not None
    await cluster.followed_member().kill()
    await cluster.follows()


async def test_new_certificates_are_taken_up_while_the_connection_lives(cluster: Cluster) -> None:
    member = cluster.follower.client.current
    before = member.generation
    cluster.certificates.make(USER)
    async with asyncio.timeout(60):
        while member.generation == before:
            await cluster.follows()
    await cluster.follows()
    assert cluster.follower.client.current is member


async def test_half_a_certificate_does_not_disturb_a_living_connection(cluster: Cluster) -> None:
    mine = cluster.certificates.directory / f"{USER}.pem"
    good = mine.read_bytes()
    mine.write_bytes((cluster.certificates.directory / "server.pem").read_bytes())  # of another key
    generation = cluster.follower.client.current.generation
    await asyncio.sleep(1.2)
    for _ in range(3):
        assert await cluster.follower.get(CLUSTER_INFO_KEY) is not None
    await cluster.follows()
    assert cluster.follower.client.current.generation == generation
    mine.write_bytes(good)
    await cluster.follows()


async def test_calls_go_on_while_certificates_are_renewed(cluster: Cluster) -> None:
    """No call fails because the channel under it was replaced: certificates change eight times under load."""
    done = asyncio.Event()

    async def reader() -> int:
        count = 0
        while not done.is_set():
            assert await cluster.writer.get(CLUSTER_INFO_KEY) is not None
            count += 1
        return count

    readers = [asyncio.create_task(reader()) for _ in range(8)]
    endpoint = cluster.writer.client.current
    for number in range(1, 9):
        cluster.certificates.make("calico-operator")
        async with asyncio.timeout(60):
            while endpoint.generation < number:
                await asyncio.sleep(0.05)
    done.set()
    assert min(await asyncio.gather(*readers)) > 8
    assert cluster.writer.client.current is endpoint


async def test_a_certificate_of_another_name_has_other_rights_at_once(cluster: Cluster, connect: Connect) -> None:
    """What is renewed is who one is: the same files with another common name."""
    files: TLSFiles = cluster.certificates.make("calico-operator", "mine")
    backend = connect(*cluster.urls, tls=files)
    await backend.txn([Op(f"{R}nodes/mine", b"1")])
    cluster.certificates.make("calico-readonly", "mine")
    async with asyncio.timeout(60):
        while True:
            try:
                await backend.txn([Op(f"{R}nodes/mine", b"2")])
            except InvalidInput as error:
                assert "lacks the right" in str(error)  # noqa: PT017 - until it is refused
                break
            await asyncio.sleep(0.2)
    assert await backend.get(f"{R}nodes/mine") is not None


async def test_a_lost_answer_is_uncertain_and_read_back(cluster: Cluster) -> None:
    """Compare-and-swap over a cluster that loses its leader: no increment is lost, none is counted twice."""
    key = f"{R}nodes/counter"
    await cluster.writer.txn([Op(key, b"0")])
    killed: EtcdProcess | None = None
    async with asyncio.timeout(90):
        number = 0
        while number < 60:
            if number == 20 and killed is None:
                killed = await cluster.leader()
                await killed.kill()
            try:
                kv = await cluster.writer.get(key)
                assert kv is not None
                assert int(kv.value) in (number, number + 1)
                number = int(kv.value)
                await cluster.writer.txn([Op(key, str(number + 1).encode(), expect=kv.mod_revision)])
            except Uncertain:
                continue
            except Transient:
                await asyncio.sleep(0.1)
    await cluster.follows()


async def test_a_watch_of_a_locked_out_user_says_so(cluster: Cluster, connect: Connect) -> None:
    backend = connect(*cluster.urls, tls=cluster.certificates.make("calico-bgp-h1"))
    async with aclosing(backend.watch(R, 1)) as stream:
        with pytest.raises(InvalidInput, match="lacks the right"):
            await anext(stream)
    status = [msgspec.structs.asdict(member) for member in await backend.members()]
    assert [item["error"] for item in status] == ["", "", ""]
