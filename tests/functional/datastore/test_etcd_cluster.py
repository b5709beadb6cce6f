"""The client against real servers: fail-over, uncertain writes, users, certificates, a wedged member."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from calico.datastore.api import Op
from calico.datastore.etcd.backend import EtcdBackend, TLSFiles
from calico.datastore.etcd.server import EtcdProcess
from calico.datastore.lease import put_with_ttl
from calico.errors import InvalidInput, Transient, Uncertain

pytestmark = pytest.mark.etcd

StartEtcd = Callable[..., Awaitable[EtcdProcess]]


Connect = Callable[..., EtcdBackend]


async def etcdctl(server: EtcdProcess, *args: str) -> None:
    if shutil.which("etcdctl") is None:
        pytest.skip("etcdctl is not installed")
    process = await asyncio.create_subprocess_exec(
        "etcdctl",
        f"--endpoints={server.config.client_url}",
        *args,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"ETCDCTL_API": "3"},
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


async def test_a_store_that_is_not_there_is_named(free_port: Callable[[], int], connect: Connect) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    backend = connect(url)
    with pytest.raises(Transient, match=url):
        await backend.get("/a")
    with pytest.raises(Transient) as refused:
        await backend.txn([Op("/a", b"1")])
    assert not isinstance(refused.value, Uncertain)  # it certainly did not happen
    with pytest.raises(Transient, match="not ready within"):
        await backend.wait_ready(0.3)


async def test_a_dead_endpoint_in_the_list_does_not_matter(
    start_etcd: StartEtcd, free_port: Callable[[], int], connect: Connect
) -> None:
    server = await start_etcd()
    backend = connect(f"http://127.0.0.1:{free_port()}", server.config.client_url)
    revision = await backend.txn([Op("/a", b"1")])
    async with aclosing(backend.watch("/", revision)) as stream:
        async for batch in stream:
            if batch.updates:
                break
    dead, alive = await backend.members()
    assert dead.error
    assert (alive.error, alive.revision) == ("", revision)


async def test_a_server_that_accepts_and_says_nothing_is_passed_over(
    start_etcd: StartEtcd, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calico.datastore.etcd.client.CONNECT_TIMEOUT_S", 0.3)
    server = await start_etcd()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        backend = connect(url, server.config.client_url)
        assert await backend.get("/a") is None
        with pytest.raises(Transient, match=f"{url}: no connection within"):
            await connect(url).txn([Op("/a", b"1")])


async def test_a_write_whose_answer_was_lost_is_uncertain(start_etcd: StartEtcd, connect: Connect) -> None:
    server = await start_etcd()
    backend = connect(server.config.client_url)
    await backend.revision()
    await server.pause()
    writing = asyncio.create_task(backend.txn([Op("/a", b"1")]))
    await asyncio.sleep(0.2)
    await server.kill()
    with pytest.raises(Uncertain, match="may have happened"):
        await writing


async def test_three_members_lose_their_leader_and_nothing_is_missed(
    start_etcd: StartEtcd, free_port: Callable[[], int], connect: Connect
) -> None:
    peers = {name: f"http://127.0.0.1:{free_port()}" for name in ("a", "b", "c")}
    servers = [await start_etcd(name, peer_url=peers[name], cluster=peers, wait=False) for name in peers]
    await asyncio.gather(*(server.wait_ready() for server in servers))
    backend = connect(*(server.config.client_url for server in servers))
    status = await backend.members()
    leader = next(index for index, member in enumerate(status) if member.member_id == member.leader)
    watching = connect(*(servers[(leader + shift) % 3].config.client_url for shift in range(3)))
    start = await backend.txn([Op("/n", b"0")])
    seen: list[int] = []

    async def follow() -> None:
        while len(seen) < 21:
            try:
                async with aclosing(watching.watch("/n", (seen[-1] if seen else start - 1) + 1)) as stream:
                    async for batch in stream:
                        seen.extend(update.mod_revision for update in batch.updates)
                        if len(seen) >= 21:
                            return
            except Transient:
                await asyncio.sleep(0.05)

    following = asyncio.create_task(follow())
    written = 0
    while written < 20:
        if written == 10:
            await servers[leader].kill()
        kv = await backend.get("/n")
        assert kv is not None
        try:
            await backend.txn([Op("/n", str(int(kv.value) + 1).encode(), expect=kv.mod_revision)])
        except Uncertain:
            pass  # read again and decide
        except Transient:
            await asyncio.sleep(0.1)
        kv = await backend.get("/n")
        assert kv is not None
        written = int(kv.value)
    async with asyncio.timeout(15):
        await following
    assert seen == list(range(start, start + 21))


async def test_a_wedged_member_is_left_after_its_probe_fails(
    start_etcd: StartEtcd, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calico.datastore.etcd.watch.PROBE_TIMEOUT_S", 0.5)
    server = await start_etcd()
    backend = connect(server.config.client_url)
    backend._probe_after_s = 0.2
    async with asyncio.timeout(10), aclosing(backend.watch("/", 1)) as stream:
        for _ in range(3):
            assert (await anext(stream)).updates == ()
        await server.pause()
        with pytest.raises(Transient, match="no answer for"):
            await anext(stream)


async def test_an_expired_token_is_renewed_and_rights_are_respected(start_etcd: StartEtcd, connect: Connect) -> None:
    server = await start_etcd(extra_args=("--auth-token-ttl=1",))
    for args in (
        ("user", "add", "root:secret"),
        ("user", "grant-role", "root", "root"),
        ("role", "add", "agent"),
        ("role", "grant-permission", "agent", "--prefix=true", "readwrite", "/calico/"),
        ("user", "add", "agent:pw"),
        ("user", "grant-role", "agent", "agent"),
        ("auth", "enable"),
    ):
        await etcdctl(server, *args)
    url = server.config.client_url
    agent = connect(url, username="agent", password="pw")
    await agent.txn([Op("/calico/a", b"1")])
    await asyncio.sleep(2.5)
    assert await agent.get("/calico/a") is not None
    with pytest.raises(InvalidInput, match=r"/other.*lacks the right"):
        await agent.get("/other")
    with pytest.raises(InvalidInput, match="lacks the right"):
        await anext(aiter(agent.watch("/other", 1)))
    with pytest.raises(InvalidInput, match="wrong etcd user name or password"):
        await connect(url, username="agent", password="no").get("/calico/a")
    with pytest.raises(InvalidInput, match="wants a user name"):
        await connect(url).get("/calico/a")
    await etcdctl(server, "--user=root:secret", "auth", "disable")
    assert await agent.get("/calico/a") is not None


async def test_certificates_are_required_and_read_again_when_replaced(
    start_etcd: StartEtcd, connect: Connect, tmp_path: Path, certificates: Any
) -> None:
    server = await start_etcd(tls=certificates.make("server"))
    url = server.config.client_url
    mine = certificates.make("client")
    assert await connect(url, tls=mine).get("/a") is None
    foreign = type(certificates)(tmp_path / "foreign").make("client")
    with pytest.raises(Transient, match="TLS failed"):
        await connect(url, tls=foreign).get("/a")
    # A client with a certificate of a foreign CA recovers once its files are replaced.
    swapped = TLSFiles(mine.ca, foreign.cert, foreign.key)
    backend = connect(url, tls=swapped)
    with pytest.raises(Transient):
        await backend.get("/a")
    for ending in ("pem", "key"):
        shutil.copy(certificates.directory / f"client.{ending}", tmp_path / "foreign" / f"client.{ending}")
    await backend.wait_ready(10)
    with pytest.raises(InvalidInput, match="cannot read"):
        await connect(url, tls=TLSFiles(tmp_path / "absent.pem")).get("/a")


async def test_an_expired_certificate_is_named_with_its_date_and_its_renewal_needs_no_restart(
    start_etcd: StartEtcd, connect: Connect, certificates: Any
) -> None:
    server = await start_etcd(tls=certificates.make("server"))
    old = certificates.make("client", ends=datetime(2020, 3, 4, 5, 6, tzinfo=UTC))
    backend = connect(server.config.client_url, tls=old)
    named = rf"client certificate {old.cert} expired on 2020-03-04 05:06 UTC"
    with pytest.raises(Transient, match=named):
        await backend.get("/a")
    with pytest.raises(Transient, match=named):
        await backend.txn([Op("/a", b"1")])
    certificates.make("client")
    await backend.wait_ready(20)
    await backend.txn([Op("/a", b"1")])
    late = certificates.make("late", starts=datetime(2999, 1, 1, tzinfo=UTC), ends=datetime(2999, 2, 1, tzinfo=UTC))
    with pytest.raises(Transient, match=rf"{late.cert} is valid only from 2999-01-01"):
        await connect(server.config.client_url, tls=late).get("/a")


async def test_a_status_written_with_a_time_to_live_expires(start_etcd: StartEtcd, connect: Connect) -> None:
    server = await start_etcd()
    backend = connect(server.config.client_url)
    await put_with_ttl(backend, "/status", b"1", 60)
    written = await put_with_ttl(backend, "/status", b"2", 1)
    async with asyncio.timeout(15), aclosing(backend.watch("/status", written + 1)) as stream:
        async for batch in stream:
            if batch.updates:
                assert [update.value for update in batch.updates] == [None]
                break


async def test_a_restarted_server_keeps_its_data(start_etcd: StartEtcd, connect: Connect) -> None:
    server = await start_etcd()
    backend = connect(server.config.client_url)
    await backend.txn([Op("/a", b"1")])
    await server.stop()
    assert server.pid is None
    await server.start()
    await backend.wait_ready(10)
    assert await backend.get("/a") is not None


async def test_through_the_gateway_tls_reaches_to_the_member(
    start_etcd: StartEtcd, connect: Connect, certificates: Any, free_port: Callable[[], int]
) -> None:
    server = await start_etcd(tls=certificates.make("server"))
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *("etcd", "gateway", "start", f"--listen-addr=127.0.0.1:{port}"),
        f"--endpoints={server.config.client_url.removeprefix('https://')}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        mine = connect(f"https://127.0.0.1:{port}", tls=certificates.make("client"))
        await mine.wait_ready(20)
        await mine.txn([Op("/a", b"1")])
        direct = connect(server.config.client_url, tls=certificates.make("client", "other"))
        assert await direct.get("/a") is not None
        with pytest.raises(Transient, match="TLS failed"):
            await connect(f"https://127.0.0.1:{port}", tls=TLSFiles(certificates.ca)).get("/a")
    finally:
        process.kill()
        await process.wait()
