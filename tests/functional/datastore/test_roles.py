"""The roles of `calico datastore roles` on a real etcd: each component can do its work, and nothing beyond it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from calico.bgp.planning.ownership import OWNERSHIP_PREFIXES
from calico.bgp.planning.snapshot import watched_prefixes
from calico.datastore.access.plan import plan_roles
from calico.datastore.access.roles import COMPONENTS, Account, Permission, Role, accounts
from calico.datastore.api import Op, SyncStatus, Update
from calico.datastore.etcd.auth import EtcdAuth
from calico.datastore.etcd.backend import EtcdBackend
from calico.datastore.etcd.server import EtcdProcess
from calico.datastore.sync.acceptance import ACCEPT_PREFIX, accept_keys
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY
from calico.datastore.sync.syncer import Syncer
from calico.datastore.typed.initialise import initialise
from calico.datastore.typed.store import Store, key_of
from calico.errors import InvalidInput
from calico.ipam.allocator import Allocator
from calico.ipam.requests import AssignRequest
from calico.ipam.stored.keys import HOST_PREFIX
from calico.model.ippool import IPPool, IPPoolSpec
from calico.model.keys import RESOURCE_PREFIX as R
from calico.model.meta import Metadata
from calico.model.node import Node
from calico.model.policy import Profile
from calico.orchestrators.kubernetes.controllers.fencing import FencedBackend, take_fence
from calico.orchestrators.kubernetes.convert import (
    namespace_to_profile,
    network_policy_to_calico,
    service_account_to_profile,
)
from calico.orchestrators.kubernetes.convert.cluster_network_policy import cluster_network_policy_to_calico

pytestmark = pytest.mark.etcd

StartEtcd = Callable[..., Awaitable[EtcdProcess]]
Connect = Callable[..., EtcdBackend]

SECRET = "/calico/bgp/v1/secrets/peers/tor"
TRIAL = "/calico/trial/v1/x"
STATUS = "/calico/felix/v2/no-region/host/{}/status"
HEP_STATUS = "/calico/felix/v1/host/{}/endpoint/eth0"
WEP = f"{R}workloadendpoints/default/h1-cni-x-eth0"
POD_POLICY = f"{R}networkpolicies/default/p"
GROUP = f"{R}networkpolicies/openstack/ossg.default.x"
PORT = f"{R}workloadendpoints/openstack/h1-openstack-x-y"
BLOCK = "/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-26"
AFFINITY = "/calico/ipam/v2/host/{}/ipv4/block/10.0.0.0-26"
HANDLE = "/calico/ipam/v2/handle/x"
SUBNET = "/calico/dhcp/v2/no-region/subnet/s"
ELECTION = "/calico/openstack/v2/no-region/neutron_election"
ACCEPT = f"{ACCEPT_PREFIX}all"
LEADER, NAMESPACE = "/calico/kubecontrollers/v1/leader", f"{R}profiles/kns.n"
POLICY, NODE, TIER = f"{R}globalnetworkpolicies/p", f"{R}nodes/h1", f"{R}tiers/default"
FELIX_CONFIG, POOL, PROFILE = f"{R}felixconfigurations/default", f"{R}ippools/p", f"{R}profiles/p"
EVERYTHING = (
    *(SECRET, TRIAL, STATUS.format("h1"), STATUS.format("h2"), HEP_STATUS.format("h1"), HEP_STATUS.format("h2")),
    *(WEP, POD_POLICY, GROUP, PORT, BLOCK, AFFINITY.format("h1"), AFFINITY.format("h2"), HANDLE, SUBNET, ELECTION),
    *(ACCEPT, POLICY, NODE, TIER, FELIX_CONFIG, POOL, PROFILE, CLUSTER_INFO_KEY, LEADER, NAMESPACE),
    *("/calico/ipam/v2/config", "/calico/ipam/v2/host/h1", "/calico/ipam/v2/host/h10", "/calico", "/other", "/calico0"),
)

RESOURCES = frozenset(key for key in EVERYTHING if key.startswith(R))
WRITES: dict[str, frozenset[str]] = {
    "calico-felix-h1": frozenset((STATUS.format("h1"), HEP_STATUS.format("h1"))),
    "calico-bgp-h1": frozenset(),
    "calico-cni-h1": frozenset(
        (WEP, PORT, PROFILE, NAMESPACE, BLOCK, HANDLE, AFFINITY.format("h1"), "/calico/ipam/v2/host/h1")
    ),
    "calico-kubernetes": frozenset((WEP, PORT, POD_POLICY, GROUP, NODE, NAMESPACE, LEADER, BLOCK, HANDLE)).union(
        key for key in EVERYTHING if key.startswith("/calico/ipam/v2/host/")
    ),
    "calico-openstack-h1": frozenset(),
    "calico-neutron": frozenset((GROUP, PORT, SUBNET, ELECTION, FELIX_CONFIG, CLUSTER_INFO_KEY)),
    "calico-operator": frozenset(key for key in EVERYTHING if key.startswith("/calico/")),
    "calico-readonly": frozenset(),
}
READS: dict[str, frozenset[str]] = {
    "calico-felix-h1": RESOURCES | {ACCEPT, *(key for key in EVERYTHING if key.startswith("/calico/ipam/v2/host/"))},
    "calico-bgp-h1": frozenset((NODE, POOL, WEP, PORT, SECRET, ACCEPT, CLUSTER_INFO_KEY, BLOCK))
    | {key for key in EVERYTHING if key.startswith("/calico/ipam/v2/host/")},
    "calico-cni-h1": frozenset((CLUSTER_INFO_KEY, FELIX_CONFIG, POOL, NODE, "/calico/ipam/v2/config")),
    "calico-kubernetes": frozenset((POLICY, PROFILE, TIER, POOL, CLUSTER_INFO_KEY, "/calico/ipam/v2/config"))
    | {key for key in EVERYTHING if key.startswith("/calico/felix/")},
    "calico-openstack-h1": frozenset((PORT, SUBNET, ACCEPT, CLUSTER_INFO_KEY)),
    "calico-neutron": frozenset((STATUS.format("h1"), STATUS.format("h2"))),
    "calico-operator": frozenset(),
    "calico-readonly": frozenset(EVERYTHING) - {SECRET, TRIAL, LEADER, "/calico", "/other", "/calico0"},
}


@pytest.fixture
async def secured(start_etcd: StartEtcd, connect: Connect, certificates: Any) -> Callable[[str], EtcdBackend]:
    """An initialised store that asks who one is; connects as the user whose name is given, by certificate."""
    server = await start_etcd(tls=certificates.make("server"))

    def as_user(name: str) -> EtcdBackend:
        return connect(server.config.client_url, tls=certificates.make(name))

    root = as_user("root")
    await initialise(Store(root))
    auth = EtcdAuth(root)
    for step in plan_roles(accounts(COMPONENTS, ["h1", "h2"]), await auth.read()):
        await auth.apply(step)
    await auth.enable("break glass")
    return as_user


AsUser = Callable[[str], EtcdBackend]


async def permitted(call: Awaitable[object]) -> bool:
    try:
        await call
    except InvalidInput as error:
        if "lacks the right" not in str(error):
            raise
        return False
    return True


@pytest.mark.parametrize("user", WRITES)
async def test_a_user_writes_and_reads_what_its_component_needs_and_is_refused_all_else(
    secured: AsUser, user: str
) -> None:
    backend, root = secured(user), secured("root")
    info = await root.get(CLUSTER_INFO_KEY)
    assert info is not None
    await root.txn([Op(key, b"{}") for key in EVERYTHING if key != CLUSTER_INFO_KEY])
    value = {CLUSTER_INFO_KEY: info.value}
    writes = {k for k in EVERYTHING if await permitted(backend.txn([Op(k, value.get(k, b"{}"))]))}
    assert writes == WRITES[user]
    assert {k for k in EVERYTHING if await permitted(backend.get(k))} == READS[user] | WRITES[user]
    assert {k for k in EVERYTHING if await permitted(backend.txn([Op(k)]))} == WRITES[user]
    for prefix in ("/", "/calico/", "/calico/felix/v2/no-region/host/"):
        allowed = prefix != "/" and (
            user == "calico-operator" or (prefix != "/calico/" and STATUS.format("h2") in READS[user])
        )
        assert await permitted(backend.list(prefix)) is allowed
        assert await permitted(anext(backend.watch(prefix, 1))) is allowed
        if user != "calico-operator":
            assert not await permitted(backend.delete_prefix(prefix))
    auth = EtcdAuth(backend)
    assert not await permitted(auth.read())
    for step in plan_roles([Account(user, (Role("root", ()),))], await EtcdAuth(root).read()):
        assert not await permitted(auth.apply(step))
    assert not await permitted(auth.set_password("root", "mine"))


async def test_a_host_gives_out_addresses_with_no_more_rights_than_its_own(secured: AsUser) -> None:
    root = Store(secured("root"))
    for host in ("h1", "h2"):
        await root.create(Node(metadata=Metadata(name=host)))
    await root.create(IPPool(metadata=Metadata(name="p"), spec=IPPoolSpec(cidr="10.0.0.0/30", block_size=31)))
    h1, h2 = (
        Allocator(secured(f"calico-cni-{host}"), clock=lambda: datetime.now(UTC) + timedelta(minutes=5))
        for host in ("h1", "h2")
    )
    long_ago = Allocator(secured("calico-cni-h2"), clock=lambda: datetime.now(UTC))
    assert await long_ago.ensure_affinity("h2", "10.0.0.2/31")
    found = await h1.auto_assign(AssignRequest(hostname="h1", v4=3, handle="x"))
    assert len(found.v4) == 3  # the third borrowed: h2's empty block cannot be taken over without rights on its claim
    assert await h1.affinities_of("h1") == ("10.0.0.0/31",)
    assert (await h2.auto_assign(AssignRequest(hostname="h2", v4=2, handle="y"))).v4[0].ip.packed[-1] in (2, 3)
    assert len(await h1.release_by_handle("x")) == 3
    assert len(await h2.release_by_handle("y")) == 1


async def test_the_controllers_of_kubernetes_lead_and_write_what_is_theirs(secured: AsUser) -> None:
    backend = secured("calico-kubernetes")

    async def ours() -> bool:
        return True

    store = Store(FencedBackend(backend, await take_fence(backend, "one", ours)))
    source = {"metadata": {"name": "p", "namespace": "n"}, "spec": {"podSelector": {}}}
    everyone = {"namespaces": {}}
    spec = {"tier": "Admin", "priority": 1, "subject": everyone, "ingress": [{"action": "Deny", "from": [everyone]}]}
    cluster = cluster_network_policy_to_calico({"metadata": {"name": "p"}, "spec": spec}).policy
    assert cluster is not None
    for resource in (
        namespace_to_profile("n", {}),
        service_account_to_profile("n", "s", {}),
        network_policy_to_calico(source).policy,
        cluster,
    ):
        stored = await store.create(resource)
        assert key_of(stored) in {key_of(found) for found in await store.list(stored.kind)}
        await store.replace(stored)
        await store.delete(stored.kind, stored.metadata.name, stored.metadata.namespace)
    assert not await permitted(store.create(Profile(kind="Profile", metadata=Metadata(name="theirs"))))


async def test_a_lease_of_another_cannot_be_used_to_delete_its_keys(secured: AsUser) -> None:
    mine, other = secured("calico-felix-h1"), secured("calico-felix-h2")
    lease = await mine.grant(60)
    await mine.txn([Op(STATUS.format("h1"), b"{}", lease=lease)])
    assert not await permitted(other.revoke(lease))
    assert await mine.get(STATUS.format("h1")) is not None


class Sink:
    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.in_sync = asyncio.Event()

    def on_status(self, status: SyncStatus, reason: str = "") -> None:
        if status is SyncStatus.IN_SYNC:
            self.in_sync.set()

    def on_updates(self, updates: Any, revision: int) -> None:
        self.keys |= {update.key for update in updates if isinstance(update, Update)}


@pytest.mark.parametrize(
    ("user", "prefixes"),
    [
        ("calico-felix-h1", (R, HOST_PREFIX)),
        ("calico-bgp-h1", watched_prefixes("h1")),
        ("calico-bgp-h1", (f"{R}nodes/", *OWNERSHIP_PREFIXES)),
    ],
)
async def test_an_agent_can_follow_what_it_follows(secured: AsUser, user: str, prefixes: tuple[str, ...]) -> None:
    sink = Sink()
    syncer = Syncer(secured(user), prefixes, sink, require_ready=True, accept_keys=accept_keys("h1"))
    task = asyncio.create_task(syncer.run())
    async with asyncio.timeout(30):
        await sink.in_sync.wait()
        await secured("calico-operator").txn([Op(NODE, b"{}")])
        while NODE not in sink.keys:
            await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_right_taken_away_is_refused_at_the_next_call(secured: AsUser) -> None:
    user, root = secured("calico-felix-h1"), EtcdAuth(secured("root"))
    assert await permitted(user.get(NODE))
    [account] = accounts(["felix"], ["h1"])
    less = msgspec.structs.replace(account, roles=account.roles[1:])
    steps = plan_roles([less], await root.read())
    assert [str(step) for step in steps] == ["take role calico-felix-h1: calico-felix"]
    for step in steps:
        await root.apply(step)
    assert not await permitted(user.get(NODE))


async def test_roles_are_brought_back_to_what_they_should_be(secured: AsUser) -> None:
    auth = EtcdAuth(secured("root"))
    wanted = accounts(COMPONENTS, ["h1", "h2"])
    assert plan_roles(wanted, await auth.read(), prune=True) == ()
    extra = accounts(["felix"], ["gone"])
    for step in plan_roles(extra, await auth.read()):
        await auth.apply(step)
    odd = Account("calico-felix-h1", (Role("calico-felix", (Permission("/calico/", "/calico0", "readwrite"),)),))
    for step in plan_roles([odd], await auth.read()):
        await auth.apply(step)
    steps = plan_roles(wanted, await auth.read(), prune=True)
    texts = {str(step) for step in steps}
    assert {"revoke calico-felix: readwrite /calico/*", "give role calico-felix-h1: calico-felix-h1"} <= texts
    assert {"delete user calico-felix-gone", "delete role calico-felix-gone"} <= texts
    for step in steps:
        await auth.apply(step)
    assert plan_roles(wanted, await auth.read(), prune=True) == ()
    assert {"root"} <= (await auth.read()).users.keys()


async def test_etcd_lets_anybody_compact(secured: AsUser) -> None:
    """Not a wish: etcd has no right for it, so agents must and do survive it (the syncer's tests)."""
    backend = secured("calico-readonly")
    revision, _ = await backend.revision()
    await backend.compact(revision)


async def test_who_has_no_user_gets_nothing(secured: AsUser) -> None:
    stranger = secured("stranger")
    assert not await permitted(stranger.get(NODE))
    assert not await permitted(stranger.txn([Op(NODE, b"{}")]))
    async with aclosing(stranger.watch(R, 1)) as stream:
        assert not await permitted(anext(stream))
