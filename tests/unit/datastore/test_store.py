from __future__ import annotations

import msgspec
import pytest

from calico.datastore.api import Op
from calico.datastore.memory import MemoryBackend
from calico.datastore.typed.initialise import BUILT_IN_TIERS, initialise
from calico.datastore.typed.store import Store
from calico.errors import AlreadyExists, Conflict, InvalidInput, NotFound, Uncertain
from calico.model.bgp import BGPConfiguration, BGPPeer, BGPPeerSpec
from calico.model.felixconfig import FelixConfiguration
from calico.model.hostendpoint import HostEndpoint, HostEndpointSpec
from calico.model.ippool import IPPool, IPPoolSpec
from calico.model.meta import Metadata, Resource
from calico.model.node import ClusterInformation, Node
from calico.model.policy import (
    GlobalNetworkPolicy,
    GlobalNetworkPolicySpec,
    GlobalNetworkSet,
    NetworkPolicy,
    NetworkPolicySpec,
    NetworkSetSpec,
    Profile,
    Tier,
    TierSpec,
)
from calico.model.workload import WorkloadEndpoint, WorkloadEndpointSpec

ROOT = "/calico/resources/v3/projectcalico.org/"
NOW = "2026-08-22T13:33:20Z"


class Shelf:
    """A store on memory, and a look at the raw bytes behind it."""

    def __init__(self) -> None:
        self.backend = MemoryBackend()
        self.uids = 0
        self.slept = 0.0
        self.store = Store(self.backend, now=lambda: NOW, new_uid=self.uid, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds

    def uid(self) -> str:
        self.uids += 1
        return f"uid-{self.uids}"

    def raw(self, path: str) -> dict[str, object] | None:
        found = {kv.key: kv.value for kv in self.backend.snapshot().items}.get(ROOT + path)
        return msgspec.json.decode(found) if found is not None else None

    def write(self, path: str, value: object) -> int:
        return self.backend.apply([Op(ROOT + path, msgspec.json.encode(value))])


@pytest.fixture
async def shelf() -> Shelf:
    made = Shelf()
    await initialise(made.store)
    return made


def netset(name: str = "web", *nets: str) -> GlobalNetworkSet:
    return GlobalNetworkSet(
        kind="GlobalNetworkSet", metadata=Metadata(name=name), spec=NetworkSetSpec(nets=nets or ("10.0.0.0/8",))
    )


def with_meta(resource: Resource, **changes: object) -> Resource:
    return msgspec.structs.replace(resource, metadata=msgspec.structs.replace(resource.metadata, **changes))


def policy(name: str = "allow", *, tier: str = "", namespace: str = "prod") -> NetworkPolicy:
    return NetworkPolicy(
        kind="NetworkPolicy", metadata=Metadata(name=name, namespace=namespace), spec=NetworkPolicySpec(tier=tier)
    )


# ---- create and read


async def test_a_created_resource_gets_identity_and_its_mod_revision_as_version(shelf: Shelf) -> None:
    made = await shelf.store.create(netset())
    revision, _ = await shelf.backend.revision()
    assert (made.metadata.creation_timestamp, made.metadata.resource_version) == (NOW, str(revision))
    assert made.metadata.uid.startswith("uid-")
    assert await shelf.store.get("GlobalNetworkSet", "web") == made


async def test_the_resource_version_is_never_stored(shelf: Shelf) -> None:
    await shelf.store.create(netset())
    raw = shelf.raw("globalnetworksets/web")
    assert raw is not None
    assert raw["kind"] == "GlobalNetworkSet"
    assert raw["apiVersion"] == "projectcalico.org/v3"
    metadata = raw["metadata"]
    assert isinstance(metadata, dict)
    assert metadata.keys() == {"name", "uid", "creationTimestamp"}


async def test_an_identity_given_on_create_is_kept(shelf: Shelf) -> None:
    made = await shelf.store.create(with_meta(netset(), uid="mine", creation_timestamp="2020-01-01T00:00:00Z"))
    assert (made.metadata.uid, made.metadata.creation_timestamp) == ("mine", "2020-01-01T00:00:00Z")


async def test_creating_twice_is_refused(shelf: Shelf) -> None:
    await shelf.store.create(netset())
    with pytest.raises(AlreadyExists, match="GlobalNetworkSet web"):
        await shelf.store.create(netset())


async def test_create_forbids_a_resource_version_and_needs_name_and_namespace(shelf: Shelf) -> None:
    with pytest.raises(InvalidInput, match="resourceVersion"):
        await shelf.store.create(with_meta(netset(), resource_version="3"))
    with pytest.raises(InvalidInput, match="a name is required"):
        await shelf.store.create(netset(""))
    with pytest.raises(InvalidInput, match="needs a namespace"):
        await shelf.store.create(policy(namespace=""))


async def test_validation_names_the_object_and_lists_every_problem(shelf: Shelf) -> None:
    with pytest.raises(InvalidInput) as refused:
        await shelf.store.create(netset("web", "10.0.0.0/99", "nonsense"))
    for words in ("GlobalNetworkSet web", "spec.nets[0]", "spec.nets[1]"):
        assert words in str(refused.value)
    assert shelf.raw("globalnetworksets/web") is None


async def test_what_is_absent_is_not_found(shelf: Shelf) -> None:
    with pytest.raises(NotFound, match="NetworkPolicy prod/none"):
        await shelf.store.get("NetworkPolicy", "none", "prod")


async def test_a_list_is_of_one_namespace_or_all_and_leaves_out_what_cannot_be_read(shelf: Shelf) -> None:
    await shelf.store.create(policy("a", namespace="one"))
    await shelf.store.create(policy("b", namespace="two"))
    shelf.backend.apply([Op(f"{ROOT}networkpolicies/one/broken", b"{")])
    shelf.backend.apply([Op(f"{ROOT}networkpolicies/toolong/x/y", b"{}")])
    assert [found.metadata.name for found in await shelf.store.list("NetworkPolicy")] == ["a", "b"]
    assert [found.metadata.name for found in await shelf.store.list("NetworkPolicy", "two")] == ["b"]
    _, revision = await shelf.store.list_at("NetworkPolicy")
    assert revision == (await shelf.backend.revision())[0]
    with pytest.raises(InvalidInput, match="one/broken"):
        await shelf.store.get("NetworkPolicy", "broken", "one")


async def test_a_damaged_policy_lists_as_denial_and_is_not_handed_out_for_change(shelf: Shelf) -> None:
    shelf.write(
        "networkpolicies/prod/odd",
        {"metadata": {"name": "odd"}, "spec": {"ingress": [{"action": "Perhaps"}], "types": ["Ingress"]}},
    )
    (found,) = await shelf.store.list("NetworkPolicy")
    assert isinstance(found, NetworkPolicy)
    assert [rule.action for rule in found.spec.ingress] == ["Deny"]
    with pytest.raises(InvalidInput, match=r"stored NetworkPolicy prod/odd.*Perhaps"):
        await shelf.store.get("NetworkPolicy", "odd", "prod")
    await shelf.store.apply(policy("odd"))
    assert (await shelf.store.get("NetworkPolicy", "odd", "prod")).metadata.uid


async def test_what_cannot_be_read_at_all_can_be_replaced_and_deleted(shelf: Shelf) -> None:
    shelf.backend.apply([Op(f"{ROOT}globalnetworksets/web", b"{"), Op(f"{ROOT}ippools/one", b"[]")])
    made = await shelf.store.apply(netset())
    assert made == await shelf.store.get("GlobalNetworkSet", "web")
    await shelf.store.delete("IPPool", "one")
    assert shelf.raw("ippools/one") is None


# ---- update


async def test_an_update_moves_the_version_and_keeps_the_identity(shelf: Shelf) -> None:
    made = await shelf.store.create(netset())
    changed = await shelf.store.update(msgspec.structs.replace(made, spec=NetworkSetSpec(nets=("192.0.2.0/24",))))
    assert int(changed.metadata.resource_version) > int(made.metadata.resource_version)
    assert changed.metadata.uid == made.metadata.uid
    assert await shelf.store.get("GlobalNetworkSet", "web") == changed


async def test_an_update_of_an_older_version_is_a_conflict(shelf: Shelf) -> None:
    made = await shelf.store.create(netset())
    await shelf.store.update(msgspec.structs.replace(made, spec=NetworkSetSpec(nets=("192.0.2.0/24",))))
    with pytest.raises(Conflict, match="GlobalNetworkSet web is at resourceVersion"):
        await shelf.store.update(made)


@pytest.mark.parametrize(
    ("field", "value"),
    [("resource_version", ""), ("resource_version", "new"), ("uid", ""), ("creation_timestamp", None)],
)
async def test_an_update_needs_version_and_identity(shelf: Shelf, field: str, value: str | None) -> None:
    made = await shelf.store.create(netset())
    with pytest.raises(InvalidInput, match="metadata"):
        await shelf.store.update(with_meta(made, **{field: value}))


async def test_an_update_of_what_is_gone_is_not_found(shelf: Shelf) -> None:
    made = await shelf.store.create(netset())
    await shelf.store.delete("GlobalNetworkSet", "web")
    with pytest.raises(NotFound):
        await shelf.store.update(made)


async def test_fields_of_newer_versions_survive_an_update(shelf: Shelf) -> None:
    await shelf.store.create(netset())
    raw = shelf.raw("globalnetworksets/web")
    assert raw is not None
    shelf.write("globalnetworksets/web", raw | {"spec": {"nets": ["10.0.0.0/8"], "fromTheFuture": [1, {"a": 2}]}})
    found = await shelf.store.get("GlobalNetworkSet", "web")
    await shelf.store.update(msgspec.structs.replace(found, spec=NetworkSetSpec(nets=("192.0.2.0/24",))))
    stored = shelf.raw("globalnetworksets/web")
    assert stored is not None
    assert stored["spec"] == {"nets": ["192.0.2.0/24"], "fromTheFuture": [1, {"a": 2}]}


# ---- apply


async def test_apply_creates_then_replaces(shelf: Shelf) -> None:
    made = await shelf.store.apply(netset())
    again = await shelf.store.apply(netset("web", "192.0.2.0/24"))
    assert again.metadata.uid == made.metadata.uid
    assert (
        await shelf.store.get("GlobalNetworkSet", "web")
    ).metadata.resource_version == again.metadata.resource_version


async def test_replace_changes_what_exists_and_creates_nothing(shelf: Shelf) -> None:
    with pytest.raises(NotFound):
        await shelf.store.replace(netset())
    made = await shelf.store.create(netset())
    replaced = await shelf.store.replace(netset("web", "192.0.2.0/24"))
    assert replaced.metadata.uid == made.metadata.uid
    with pytest.raises(Conflict):
        await shelf.store.replace(made)


async def test_apply_with_a_stale_version_is_a_conflict_and_with_the_present_one_is_not(shelf: Shelf) -> None:
    made = await shelf.store.apply(netset())
    second = await shelf.store.apply(made)
    with pytest.raises(Conflict):
        await shelf.store.apply(made)
    await shelf.store.apply(second)


async def test_apply_tries_again_when_others_write(shelf: Shelf) -> None:
    class Busy(MemoryBackend):
        interruptions = 0

        async def txn(self, ops: object) -> int:
            if self.interruptions:
                self.interruptions -= 1
                kv = (await self.list(f"{ROOT}globalnetworksets/")).items[0]
                self.apply([Op(kv.key, kv.value)])
            return await super().txn(ops)  # type: ignore[arg-type]

    backend = Busy()
    store = Store(backend)
    await store.apply(netset())
    backend.interruptions = 3
    await store.apply(netset("web", "192.0.2.0/24"))
    backend.interruptions = 99
    with pytest.raises(Conflict):
        await store.apply(netset("web", "10.0.0.0/8"))


# ---- delete


async def test_delete_removes_and_a_second_one_finds_nothing(shelf: Shelf) -> None:
    await shelf.store.create(netset())
    await shelf.store.delete("GlobalNetworkSet", "web")
    assert shelf.raw("globalnetworksets/web") is None
    with pytest.raises(NotFound):
        await shelf.store.delete("GlobalNetworkSet", "web")


async def test_delete_at_another_version_is_a_conflict(shelf: Shelf) -> None:
    made = await shelf.store.create(netset())
    with pytest.raises(Conflict):
        await shelf.store.delete("GlobalNetworkSet", "web", resource_version="1")
    await shelf.store.delete("GlobalNetworkSet", "web", resource_version=made.metadata.resource_version)


async def test_an_answer_that_was_lost_is_settled_by_reading() -> None:
    class Forgetful(MemoryBackend):
        applies = True

        async def txn(self, ops: object) -> int:
            if self.applies:
                await super().txn(ops)  # type: ignore[arg-type]
            raise Uncertain("the answer was lost")

    backend = Forgetful()
    store = Store(backend)
    made = await store.create(netset())
    assert made == await store.get("GlobalNetworkSet", "web")
    backend.applies = False
    with pytest.raises(Uncertain):
        await store.create(netset("other"))


# ---- the virtual profile


async def test_the_default_allow_profile_is_always_there_and_never_stored(shelf: Shelf) -> None:
    found = await shelf.store.get("Profile", "projectcalico-default-allow")
    assert isinstance(found, Profile)
    assert found.metadata.resource_version == "1"
    assert [rule.action for rule in (*found.spec.ingress, *found.spec.egress)] == ["Allow", "Allow"]
    assert await shelf.store.list("Profile") == (found,)
    bare = with_meta(found, resource_version="")
    with pytest.raises(AlreadyExists):
        await shelf.store.create(bare)
    for attempt in (
        shelf.store.update(found),
        shelf.store.apply(bare),
        shelf.store.delete("Profile", found.metadata.name),
    ):
        with pytest.raises(InvalidInput, match="built in"):
            await attempt
    assert not [kv for kv in shelf.backend.snapshot().items if "/profiles/" in kv.key]


# ---- tiers and policies


async def test_a_policy_needs_its_tier_on_create_and_not_on_update(shelf: Shelf) -> None:
    with pytest.raises(NotFound, match="Tier security does not exist"):
        await shelf.store.create(policy("security.allow", tier="security"))
    await shelf.store.create(Tier(kind="Tier", metadata=Metadata(name="security"), spec=TierSpec(order=5)))
    made = await shelf.store.create(policy("security.allow", tier="security"))
    shelf.backend.apply([Op(f"{ROOT}tiers/security")])
    await shelf.store.update(made)


async def test_a_stored_policy_carries_its_tier_label_and_name_annotation(shelf: Shelf) -> None:
    await shelf.store.create(policy())
    raw = shelf.raw("networkpolicies/prod/allow")
    assert raw is not None
    metadata = raw["metadata"]
    assert isinstance(metadata, dict)
    assert metadata["labels"]["projectcalico.org/tier"] == "default"
    assert metadata["annotations"]["projectcalico.org/metadata"] == '{"name":"allow"}'


async def test_a_tier_with_policies_is_not_deleted_and_the_policies_are_named(shelf: Shelf) -> None:
    await shelf.store.create(Tier(kind="Tier", metadata=Metadata(name="security"), spec=TierSpec(order=5)))
    await shelf.store.create(policy("security.allow", tier="security"))
    await shelf.store.create(
        GlobalNetworkPolicy(
            kind="GlobalNetworkPolicy",
            metadata=Metadata(name="security.all"),
            spec=GlobalNetworkPolicySpec(tier="security"),
        )
    )
    shelf.write("stagednetworkpolicies/prod/try", {"spec": {"tier": "security"}})
    with pytest.raises(InvalidInput, match="Tier security") as refused:
        await shelf.store.delete("Tier", "security")
    for words in (
        "NetworkPolicy prod/security.allow",
        "GlobalNetworkPolicy security.all",
        "StagedNetworkPolicy prod/try",
    ):
        assert words in str(refused.value)
    await shelf.store.delete("NetworkPolicy", "security.allow", "prod")
    await shelf.store.delete("GlobalNetworkPolicy", "security.all")
    shelf.backend.apply([Op(f"{ROOT}stagednetworkpolicies/prod/try")])
    await shelf.store.delete("Tier", "security")


@pytest.mark.parametrize("name", sorted(BUILT_IN_TIERS))
async def test_built_in_tiers_are_protected(shelf: Shelf, name: str) -> None:
    with pytest.raises(InvalidInput, match="built-in"):
        await shelf.store.delete("Tier", name)


# ---- nodes, peers and pools


async def test_deleting_a_node_takes_what_belongs_to_it_and_nothing_else(shelf: Shelf) -> None:
    for name in ("n1", "n2"):
        await shelf.store.create(Node(kind="Node", metadata=Metadata(name=name)))
        await shelf.store.create(
            WorkloadEndpoint(
                kind="WorkloadEndpoint",
                metadata=Metadata(name=f"{name}-k8s-web-eth0", namespace="prod"),
                spec=WorkloadEndpointSpec(
                    orchestrator="k8s", node=name, pod="web", endpoint="eth0", interface_name="cali1"
                ),
            )
        )
        await shelf.store.create(
            BGPPeer(
                kind="BGPPeer",
                metadata=Metadata(name=f"peer-{name}"),
                spec=BGPPeerSpec(node=name, peer_ip="192.0.2.1", as_number=64512),
            )
        )
        await shelf.store.create(
            HostEndpoint(
                kind="HostEndpoint",
                metadata=Metadata(name=f"{name}-eth0"),
                spec=HostEndpointSpec(node=name, interface_name="eth0"),
            )
        )
        await shelf.store.create(FelixConfiguration(kind="FelixConfiguration", metadata=Metadata(name=f"node.{name}")))
        await shelf.store.create(BGPConfiguration(kind="BGPConfiguration", metadata=Metadata(name=f"node.{name}")))
    before = {kv.key for kv in shelf.backend.snapshot().items}
    await shelf.store.delete("Node", "n1")
    after = {kv.key for kv in shelf.backend.snapshot().items}
    assert before - after == {
        f"{ROOT}nodes/n1",
        f"{ROOT}workloadendpoints/prod/n1-k8s-web-eth0",
        f"{ROOT}bgppeers/peer-n1",
        f"{ROOT}hostendpoints/n1-eth0",
        f"{ROOT}felixconfigurations/node.n1",
        f"{ROOT}bgpconfigurations/node.n1",
    }


async def test_a_peer_needs_its_filters(shelf: Shelf) -> None:
    peer = BGPPeer(
        kind="BGPPeer",
        metadata=Metadata(name="tor"),
        spec=BGPPeerSpec(peer_ip="192.0.2.1", as_number=64512, filters=("out",)),
    )
    with pytest.raises(NotFound, match="BGPFilter out"):
        await shelf.store.create(peer)
    shelf.write("bgpfilters/out", {"spec": {}})
    await shelf.store.create(peer)


def pool(name: str, cidr: str, block_size: int = 26) -> IPPool:
    return IPPool(kind="IPPool", metadata=Metadata(name=name), spec=IPPoolSpec(cidr=cidr, block_size=block_size))


async def test_pools_do_not_overlap_and_do_not_change_their_range(shelf: Shelf) -> None:
    made = await shelf.store.create(pool("one", "10.0.0.0/16"))
    with pytest.raises(InvalidInput, match=r"spec.cidr.*overlaps IPPool one \(10.0.0.0/16\)"):
        await shelf.store.create(pool("two", "10.0.128.0/24"))
    await shelf.store.create(pool("two", "10.1.0.0/16"))
    await shelf.store.create(pool("six", "fd00::/64", 122))
    assert isinstance(made, IPPool)
    for change, field in (({"cidr": "10.2.0.0/16"}, "spec.cidr"), ({"block_size": 27}, "spec.blockSize")):
        with pytest.raises(InvalidInput, match=field):
            await shelf.store.update(msgspec.structs.replace(made, spec=msgspec.structs.replace(made.spec, **change)))


async def test_a_pool_is_disabled_before_it_goes(shelf: Shelf) -> None:
    made = await shelf.store.create(pool("one", "10.0.0.0/16"))
    start, _ = await shelf.backend.revision()
    await shelf.store.delete("IPPool", "one", resource_version=made.metadata.resource_version)
    kv = await shelf.backend.get(f"{ROOT}ippools/one", revision=start + 1)
    assert kv is not None
    assert msgspec.json.decode(kv.value)["spec"]["disabled"] is True
    assert shelf.raw("ippools/one") is None
    assert shelf.slept == 0.5


async def test_a_pool_that_others_wrote_without_an_identity_can_be_deleted(shelf: Shelf) -> None:
    value = (
        b'{"kind":"IPPool","apiVersion":"projectcalico.org/v3","metadata":{"name":"old"},"spec":{"cidr":"10.9.0.0/16"}}'
    )
    shelf.backend.apply([Op(f"{ROOT}ippools/old", value)])
    await shelf.store.delete("IPPool", "old")
    assert shelf.raw("ippools/old") is None
    assert shelf.slept == 0.5, "it was disabled first"


# ---- initialisation


async def test_a_fresh_store_is_made_ready_with_a_guid_and_the_built_in_tiers() -> None:
    shelf = Shelf()
    info = await initialise(shelf.store, "v1.2.3", "openstack,bgp")
    assert len(info.spec.cluster_guid) == 32
    assert int(info.spec.cluster_guid, 16) >= 0
    assert (info.spec.calico_version, info.spec.cluster_type, info.spec.datastore_ready) == (
        "v1.2.3",
        "openstack,bgp",
        True,
    )
    tiers = {tier.metadata.name: tier.spec for tier in await shelf.store.list("Tier") if isinstance(tier, Tier)}
    assert tiers == BUILT_IN_TIERS


async def test_initialising_again_changes_nothing(shelf: Shelf) -> None:
    before = shelf.backend.snapshot()
    await initialise(shelf.store)
    assert shelf.backend.snapshot() == before


async def test_initialising_completes_and_never_unlocks() -> None:
    shelf = Shelf()
    shelf.write(
        "clusterinformations/default",
        {
            "kind": "ClusterInformation",
            "metadata": {"name": "default", "uid": "u", "creationTimestamp": NOW},
            "spec": {"clusterType": "k8s,bgp", "datastoreReady": False},
        },
    )
    info = await initialise(shelf.store, "v2", "bgp,openstack")
    assert isinstance(info, ClusterInformation)
    assert info.spec.cluster_guid
    assert (info.spec.cluster_type, info.spec.datastore_ready, info.spec.calico_version) == (
        "k8s,bgp,openstack",
        False,
        "v2",
    )


async def test_the_first_node_initialises_the_store() -> None:
    shelf = Shelf()
    await shelf.store.create(Node(kind="Node", metadata=Metadata(name="n1")))
    assert isinstance(await shelf.store.get("ClusterInformation", "default"), ClusterInformation)
    assert {tier.metadata.name for tier in await shelf.store.list("Tier")} == BUILT_IN_TIERS.keys()
