"""Many hosts give out and take back addresses while the core of etcd loses its leader."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from calico.datastore.etcd.backend import EtcdBackend
from calico.datastore.etcd.server import EtcdProcess
from calico.datastore.typed.store import Store
from calico.ipam.allocator import Allocator
from calico.ipam.audit.consistency import inconsistencies
from calico.ipam.audit.state import IPAMState, read_state
from calico.ipam.requests import Assignment, AssignRequest
from calico.model.ippool import IPPool, IPPoolSpec
from calico.model.meta import Metadata
from calico.model.node import Node

pytestmark = pytest.mark.etcd

StartEtcd = Callable[..., Awaitable[EtcdProcess]]
HOSTS, PER_HOST = ("a", "b", "c"), 200


def allocator(backend: EtcdBackend) -> Allocator:
    return Allocator(backend, clock=lambda: datetime.now(UTC), patience_s=60)


async def prepare(backend: EtcdBackend) -> None:
    store = Store(backend)
    for host in HOSTS:
        await store.create(Node(metadata=Metadata(name=host)))
    await store.create(IPPool(metadata=Metadata(name="p"), spec=IPPoolSpec(cidr="10.0.0.0/22", block_size=27)))


def held(state: IPAMState) -> dict[str, str]:
    """Handle by address."""
    return {
        str(block.network[ordinal]): attribute.handle or ""
        for block in state.blocks.values()
        for ordinal, attribute in block.held()
    }


async def start_core(start_etcd: StartEtcd, free_port: Callable[[], int]) -> list[EtcdProcess]:
    peers = {name: f"http://127.0.0.1:{free_port()}" for name in ("m0", "m1", "m2")}
    servers = [await start_etcd(name, peer_url=peers[name], cluster=peers, wait=False) for name in peers]
    for server in servers:
        await server.wait_ready()
    return servers


async def leader_of(backend: EtcdBackend) -> int:
    members = await backend.members()
    leader = next(member.leader for member in members if member.leader)
    return [member.member_id for member in members].index(leader)


async def test_no_address_is_given_twice_and_none_lost_while_the_leader_dies(
    start_etcd: StartEtcd, free_port: Callable[[], int], connect: Callable[..., EtcdBackend]
) -> None:
    servers = await start_core(start_etcd, free_port)
    urls = [server.config.client_url for server in servers]
    admin = connect(*urls)
    await prepare(admin)
    # of each host two processes, as a daemon and a plugin that is called beside it
    allocators = {host: [allocator(connect(*urls)) for _ in range(2)] for host in HOSTS}
    answered = 0

    async def ask(host: str, number: int) -> tuple[str, Assignment]:
        nonlocal answered
        handle = f"{host}.{number}"
        found = await allocators[host][number % 2].auto_assign(AssignRequest(hostname=host, v4=1, handle=handle))
        answered += 1
        return handle, found

    asked = [asyncio.ensure_future(ask(host, number)) for host in HOSTS for number in range(PER_HOST)]
    while answered < 100:
        await asyncio.sleep(0.01)
    leader = await leader_of(admin)
    await servers[leader].kill()
    before = answered
    answers = dict(await asyncio.gather(*asked))
    assert before < len(answers)  # it died in the middle

    assert {handle: len(found.v4) for handle, found in answers.items()} == dict.fromkeys(answers, 1)
    given = {str(found.v4[0].ip): handle for handle, found in answers.items()}
    assert len(given) == len(HOSTS) * PER_HOST  # none twice
    state = await read_state(admin)
    assert held(state) == given  # none lost
    assert list(inconsistencies(state)) == []

    await servers[leader].start()
    released = await asyncio.gather(
        *(allocators[handle[0]][0].release_by_handle(handle) for handle in answers),
    )
    assert {address for addresses in released for address in addresses} == given.keys()
    state = await read_state(admin)
    assert held(state) == {}
    assert state.handles == {}
    assert list(inconsistencies(state)) == []


async def test_hosts_that_fill_a_pool_share_all_of_it(
    start_etcd: StartEtcd, connect: Callable[..., EtcdBackend]
) -> None:
    server = await start_etcd()
    backend = connect(server.config.client_url)
    await prepare(backend)
    allocators = {host: allocator(connect(server.config.client_url)) for host in HOSTS}
    asked = [
        allocators[host].auto_assign(AssignRequest(hostname=host, v4=1, handle=f"{host}.{number}"))
        for number in range(350)
        for host in HOSTS
    ]
    answers = await asyncio.gather(*asked)
    given = [str(address.ip) for found in answers for address in found.v4]
    assert len(given) == len(set(given)) == 1024
    assert {found.reason == "" for found in answers} == {True, False}
    state = await read_state(backend)
    assert held(state).keys() == set(given)
    assert list(inconsistencies(state)) == []
