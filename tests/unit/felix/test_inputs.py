"""What Felix takes from the datastore: good objects to the calculation, bad ones by name into the conditions."""

import asyncio
import json
from collections.abc import AsyncGenerator

from calico.calc.graph import Graph
from calico.calc.messages import EndpointUpdate, HostEndpointUpdate, InSync, ProblemUpdate
from calico.datastore.api import Op, SyncStatus, Update, WatchBatch
from calico.datastore.memory import MemoryBackend
from calico.felix.daemon import follow
from calico.felix.inputs import Inputs
from calico.ipam.stored.keys import HOST_PREFIX
from calico.obs.conditions import Conditions

PREFIX = "/calico/resources/v3/projectcalico.org/"
ENDPOINT = f"{PREFIX}workloadendpoints/default/h1-cni-a-eth0"


class Setup:
    def __init__(self) -> None:
        self.woken = 0
        self.graph = Graph("h1")
        self.conditions = Conditions()
        self.inputs = Inputs("h1", self.graph, self.conditions, self.wake)

    def wake(self) -> None:
        self.woken += 1

    def put(self, path: str, document: object, revision: int = 1) -> None:
        value = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.inputs.on_updates([Update(path, value, revision)], revision)

    def condition_objects(self, code: str) -> dict[str, str]:
        return {item.object: item.message for item in self.conditions if item.code == code}


def endpoint() -> dict[str, object]:
    return {
        "kind": "WorkloadEndpoint",
        "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": "h1-cni-a-eth0", "namespace": "default"},
        "spec": {
            "orchestrator": "cni",
            "node": "h1",
            "containerID": "a",
            "endpoint": "eth0",
            "interfaceName": "cali1",
            "ipNetworks": ["10.0.0.1/32"],
        },
    }


def test_nothing_leaves_the_calculation_before_the_datastore_is_in_sync() -> None:
    setup = Setup()
    setup.put(ENDPOINT, endpoint())
    assert setup.graph.flush() == []
    setup.inputs.on_status(SyncStatus.IN_SYNC)
    messages = setup.graph.flush()
    assert any(isinstance(message, EndpointUpdate) for message in messages)
    assert isinstance(messages[-1], InSync)
    assert setup.woken == 2


def test_garbage_is_named_and_what_is_good_works() -> None:
    setup = Setup()
    setup.put(f"{PREFIX}networkpolicies/default/broken", b"{not json")
    setup.put(f"{PREFIX}unknownkinds/thing", b"{}")
    setup.put(ENDPOINT, endpoint())
    setup.inputs.on_status(SyncStatus.IN_SYNC)
    assert any(isinstance(message, EndpointUpdate) for message in setup.graph.flush())
    named = setup.condition_objects("resource-invalid")
    assert set(named) == {"NetworkPolicy default/broken", f"{PREFIX}unknownkinds/thing"}


def test_a_mended_object_is_named_no_longer() -> None:
    setup = Setup()
    path = f"{PREFIX}tiers/t1"
    setup.put(path, b"\xff\xff")
    assert setup.condition_objects("resource-invalid")
    setup.inputs.on_updates([Update(path, None, 2)], 2)
    assert not setup.condition_objects("resource-invalid")


def test_a_held_datastore_is_a_condition_with_its_reason() -> None:
    setup = Setup()
    setup.inputs.on_status(SyncStatus.LOCKED, "the datastore is locked")
    assert [item.code for item in setup.conditions] == ["datastore-locked"]
    setup.inputs.on_status(SyncStatus.HELD, "ClusterInformation is gone")
    assert setup.condition_objects("datastore-held") == {"datastore": "ClusterInformation is gone"}
    setup.inputs.on_status(SyncStatus.IN_SYNC)
    assert not setup.condition_objects("datastore-held")


def test_the_kind_of_cluster_is_the_lowest_source_of_settings() -> None:
    setup = Setup()
    setup.put(f"{PREFIX}clusterinformations/default", {"spec": {"clusterType": "openstack"}})
    setup.put(f"{PREFIX}felixconfigurations/default", {"spec": {}})
    names = [name for name, _ in setup.inputs.config_sources()]
    assert names == ["ClusterInformation default", "FelixConfiguration default"]
    assert setup.inputs.config_sources()[0][1] == {"clusterType": "openstack"}
    setup.put(f"{PREFIX}clusterinformations/other", {"spec": {"clusterType": "k8s"}})
    assert setup.inputs.config_sources()[0][1] == {"clusterType": "openstack"}
    setup.inputs.on_updates([Update(f"{PREFIX}clusterinformations/default", None, 2)], 2)
    assert [name for name, _ in setup.inputs.config_sources()] == ["FelixConfiguration default"]


def test_configurations_apply_in_their_order_and_only_to_their_nodes() -> None:
    setup = Setup()

    def configuration(name: str, spec: dict[str, object]) -> None:
        document = {"kind": "FelixConfiguration", "metadata": {"name": name}, "spec": spec}
        setup.put(f"{PREFIX}felixconfigurations/{name}", document)

    setup.put(f"{PREFIX}nodes/h1", {"kind": "Node", "metadata": {"name": "h1", "labels": {"rack": "a"}}, "spec": {}})
    configuration("node.h1", {"logPrefix": "mine"})
    configuration("node.h2", {"logPrefix": "other"})
    configuration("rack-a", {"logPrefix": "rack", "nodeSelector": "rack == 'a'"})
    configuration("rack-b", {"logPrefix": "no", "nodeSelector": "rack == 'b'"})
    configuration("default", {"logPrefix": "all"})
    assert [name for name, _ in setup.inputs.config_sources()] == [
        "FelixConfiguration default",
        "FelixConfiguration rack-a",
        "FelixConfiguration node.h1",
    ]


def test_a_selector_of_nodes_that_was_mended_or_went_is_wrong_no_more() -> None:
    setup = Setup()
    path = f"{PREFIX}felixconfigurations/some"
    document = {"kind": "FelixConfiguration", "metadata": {"name": "some"}, "spec": {"nodeSelector": "bad("}}
    for after in (json.dumps({**document, "spec": {"nodeSelector": "all()"}}).encode(), None):
        setup.put(path, document)
        setup.inputs.config_sources()
        assert set(setup.condition_objects("resource-invalid")) == {"FelixConfiguration some"}
        setup.inputs.on_updates([Update(path, after, 2)], 2)
        setup.inputs.config_sources()
        assert not setup.condition_objects("resource-invalid")


def test_a_host_endpoint_reaches_the_calculation_and_a_malformed_one_is_named() -> None:
    setup = Setup()
    path = f"{PREFIX}hostendpoints/eth0"
    document = {"kind": "HostEndpoint", "metadata": {"name": "eth0"}, "spec": {"node": "h1", "interfaceName": "eth0"}}
    setup.put(path, document)
    setup.inputs.on_status(SyncStatus.IN_SYNC)
    assert any(isinstance(message, HostEndpointUpdate) for message in setup.graph.flush())
    setup.put(path, {**document, "spec": {"node": "h1", "expectedIPs": ["10.0.0.0/8"]}}, 2)
    for message in setup.graph.flush():
        if isinstance(message, ProblemUpdate):
            setup.inputs.on_graph_problems(message.key, message.problems)
    assert set(setup.condition_objects("resource-invalid")) == {"HostEndpoint eth0"}


def test_the_revision_follows_a_restored_datastore_downwards_and_stays_during_a_snapshot() -> None:
    setup = Setup()
    setup.put(ENDPOINT, endpoint(), 20)
    setup.inputs.on_updates([], 0)
    assert setup.inputs.revision == 20
    setup.put(ENDPOINT, endpoint(), 7)
    assert setup.inputs.revision == 7


def test_only_what_tells_settings_asks_for_them_to_be_merged_anew() -> None:
    setup = Setup()
    merged: list[int] = []
    for path, kind, name in (
        ("felixconfigurations/default", "FelixConfiguration", "default"),
        ("clusterinformations/default", "ClusterInformation", "default"),
        ("nodes/h1", "Node", "h1"),
        ("nodes/h2", "Node", "h2"),
        ("globalnetworkpolicies/p", "GlobalNetworkPolicy", "p"),
    ):
        before = setup.inputs.config_changes
        setup.put(f"{PREFIX}{path}", {"kind": kind, "metadata": {"name": name}, "spec": {}})
        merged.append(setup.inputs.config_changes - before)
    setup.put(ENDPOINT, endpoint())
    assert merged == [1, 1, 1, 0, 0]
    before = setup.inputs.config_changes
    setup.inputs.on_updates([Update(f"{PREFIX}felixconfigurations/default", None, 9)], 9)
    assert setup.inputs.config_changes == before + 1


class ResourcesLate(MemoryBackend):
    """Changes of resources arrive when ``release`` is set, those of blocks at once."""

    def __init__(self) -> None:
        super().__init__()
        self.release = asyncio.Event()

    async def watch(self, prefix: str, from_revision: int) -> AsyncGenerator[WatchBatch, None]:
        async for batch in super().watch(prefix, from_revision):
            if batch.updates and prefix == PREFIX:
                await self.release.wait()
            yield batch


async def test_blocks_that_overtake_resources_do_not_say_that_these_were_seen() -> None:
    setup, backend = Setup(), ResourcesLate()
    backend.apply([Op(f"{PREFIX}clusterinformations/default", b'{"spec": {"datastoreReady": true}}')])
    following = asyncio.create_task(follow(backend, "h1", setup.inputs).run())
    try:
        while not setup.inputs.in_sync:
            await asyncio.sleep(0)
        before, updates = setup.inputs.revision, setup.inputs.updates
        written = backend.apply([Op(ENDPOINT, json.dumps(endpoint()).encode())])
        backend.apply([Op(f"{HOST_PREFIX}h1/ipv4/block/10.1.0.0-26", b"{}")])
        while setup.inputs.updates == updates:
            await asyncio.sleep(0)
        assert setup.inputs.revision == before
        backend.release.set()
        while setup.inputs.revision < written:
            await asyncio.sleep(0)
        assert setup.inputs.counts()["WorkloadEndpoint"] == 1
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
