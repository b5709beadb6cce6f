"""Controllers of nodes, host endpoints, addresses and conditions against a real API server, etcd and Felix."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from api_world import NODE, ApiWorld

from calico.datastore.typed.store import Store
from calico.ipam.allocator import Allocator
from calico.ipam.requests import AssignRequest
from calico.orchestrators.kubernetes.api.client import Client
from calico.orchestrators.kubernetes.api.events import Reporter
from calico.orchestrators.kubernetes.controllers.collect import Collector
from calico.orchestrators.kubernetes.controllers.host_endpoints import HostEndpoints
from calico.orchestrators.kubernetes.controllers.network_condition import NetworkCondition
from calico.orchestrators.kubernetes.controllers.nodes import Nodes

RESOURCES = "/calico/resources/v3/projectcalico.org"
CREATED_BY = "projectcalico.org/created-by"


@asynccontextmanager
async def running(*services: Any):
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(service.run()) for service in services]
        yield
        for task in tasks:
            task.cancel()


async def reached(condition: Callable[[], Any], what: str) -> Any:
    """The first true value; the deadline bounds a failing test only."""
    async with asyncio.timeout(90):
        while True:
            found = condition()
            if isinstance(found, Awaitable):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.05)


def kubernetes_node(world: ApiWorld, name: str, **labels: str) -> None:
    world.api("POST", "/api/v1/nodes", {"metadata": {"name": name, "labels": labels}})


def calico_node(world: ApiWorld, name: str, kubernetes: str = "") -> None:
    refs = {"orchRefs": [{"nodeName": kubernetes, "orchestrator": "k8s"}]} if kubernetes else {}
    world.put("Node", "nodes", name, refs)


def names(world: ApiWorld, plural: str) -> set[str]:
    return {key.rpartition("/")[2] for key in world.values(f"{RESOURCES}/{plural}/")}


def test_nodes_follow_kubernetes_and_go_with_it_and_others_are_left_alone(world: ApiWorld) -> None:
    kubernetes_node(world, "k1", zone="z1", disk="ssd")
    kubernetes_node(world, "k2")
    calico_node(world, NODE, "k1")
    calico_node(world, "second", "k2")
    calico_node(world, "bare")

    async def scenario(client: Client, store: Store) -> None:
        allocator = Allocator(store.backend, clock=lambda: datetime.now(UTC))
        await allocator.auto_assign(AssignRequest(hostname="second", v4=2, v6=0, handle="h", attrs={"node": "second"}))
        reporter = Reporter(client, "test", "host", lambda: True)
        async with running(Nodes(client, store, reporter)):

            async def labels() -> dict[str, str]:
                return dict((await store.get("Node", NODE)).metadata.labels or {})

            async def has(wanted: dict[str, str]) -> bool:
                return await labels() == wanted

            await reached(lambda: has({"zone": "z1", "disk": "ssd"}), "labels are copied")
            await asyncio.to_thread(
                world.api,
                "PATCH",
                "/api/v1/nodes/k1",
                {"metadata": {"labels": {"disk": None, "zone": "z2"}}},
                merge=True,
            )
            await reached(lambda: has({"zone": "z2"}), "labels that went are taken away")
            assert names(world, "nodes") == {NODE, "second", "bare"}
            await asyncio.to_thread(world.api, "DELETE", "/api/v1/nodes/k2")
            await reached(lambda: names(world, "nodes") == {NODE, "bare"}, "the Node of k2 is gone")
            await reached(lambda: not world.values("/calico/ipam/v2/host/second"), "its blocks are given up")
        assert not await allocator.affinities_of("second")

    world.run(scenario)


def test_every_node_of_kubernetes_has_a_host_endpoint_where_that_is_asked_for(world: ApiWorld) -> None:
    calico_node(world, NODE, "k1")
    calico_node(world, "bare")
    calico_node(world, "taken", "k3")
    world.put("HostEndpoint", "hostendpoints", "taken-auto-hep", {"node": "taken", "interfaceName": "eth7"})

    async def scenario(client: Client, store: Store) -> None:
        service = HostEndpoints(store, settle_s=0.05)
        async with running(service):
            await reached(lambda: service.rounds, "there was a round")
            assert names(world, "hostendpoints") == {"taken-auto-hep"}
            auto = {"controllers": {"node": {"hostEndpoint": {"autoCreate": "Enabled"}}}}
            await asyncio.to_thread(
                world.put, "KubeControllersConfiguration", "kubecontrollersconfigurations", "default", auto
            )
            mine = f"{NODE}-auto-hep"
            await reached(lambda: names(world, "hostendpoints") == {"taken-auto-hep", mine}, "there is one")
            found = await store.get("HostEndpoint", mine)
            assert (found.spec.node, found.spec.interface_name) == (NODE, "*")
            assert (found.metadata.labels or {})[CREATED_BY] == "calico-kube-controllers"
            assert (await store.get("HostEndpoint", "taken-auto-hep")).spec.interface_name == "eth7"
            await store.delete("Node", NODE)
            await reached(lambda: names(world, "hostendpoints") == {"taken-auto-hep"}, "it goes with its node")

    world.run(scenario)


def test_addresses_that_pods_left_behind_are_released_after_two_looks(world: ApiWorld) -> None:
    kubernetes_node(world, NODE)
    calico_node(world, NODE, NODE)
    left, kept, moved, finished = (world.pod(name) for name in ("left", "kept", "moved", "finished"))
    address = {pod.name: pod.add().address() for pod in (left, kept, moved, finished)}
    for pod in (left, moved, finished):  # as a host that lost power while it detached them
        world.etcdctl("del", "--prefix", f"{RESOURCES}/workloadendpoints/default/{NODE}-k8s-{pod.name}-")
    left.remove()
    moved.remove()
    world.pod("moved", node="elsewhere")
    world.api("PATCH", f"{finished.path}/status", {"status": {"phase": "Succeeded"}}, merge=True)

    async def scenario(client: Client, store: Store) -> None:
        now = [datetime(2026, 1, 1, tzinfo=UTC)]
        service = Collector(client, store, now=lambda: now[0], settle_s=0.05)
        marks = "/calico/ipamgc/v1/mark/"
        async with running(service):
            await reached(lambda: len(world.values(marks)) == 3, "the leaked ones are marked")
            told = {key.removeprefix(marks): value["evidence"] for key, value in world.values(marks).items()}
            assert "there is no pod default/left" in told[address["left"]]
            assert "is on node elsewhere" in told[address["moved"]]
            assert "has finished" in told[address["finished"]]
            now[0] += timedelta(minutes=14)
            before = service.rounds
            service.wake()
            await reached(lambda: service.rounds > before, "there was another round")
            assert world.allocated == 4
            now[0] += timedelta(minutes=2)
            service.wake()
            await reached(lambda: world.allocated == 1, "they are released")
            assert not world.values(marks)
        allocator = Allocator(store.backend, clock=lambda: datetime.now(UTC))
        assert await allocator.get_attributes(address["kept"]) is not None

    world.run(scenario)


def test_an_address_with_an_endpoint_is_kept_and_those_of_a_gone_node_wait_for_nothing(world: ApiWorld) -> None:
    kubernetes_node(world, NODE)
    calico_node(world, NODE, NODE)
    calico_node(world, "gone", "k9")
    stays = world.pod("stays")
    stays.add()
    stays.remove()  # the kubelet has not detached it yet

    async def scenario(client: Client, store: Store) -> None:
        allocator = Allocator(store.backend, clock=lambda: datetime.now(UTC))
        attrs = {"node": "gone", "pod": "p", "namespace": "default"}
        await allocator.auto_assign(AssignRequest(hostname="gone", v4=1, v6=0, handle="net.gone", attrs=attrs))
        tunnel = {"node": "gone", "type": "vxlanTunnelAddress"}
        await allocator.auto_assign(AssignRequest(hostname="gone", v4=1, v6=0, handle="tunnel", attrs=tunnel))
        await asyncio.to_thread(world.etcdctl, "del", f"{RESOURCES}/nodes/gone")
        assert world.allocated == 3
        async with running(Collector(client, store, settle_s=0.05)):
            await reached(lambda: world.allocated == 1, "the addresses of the gone node are released")
        assert {endpoint["spec"]["pod"] for endpoint in world.endpoints.values()} == {"stays"}

    world.run(scenario)


def condition(world: ApiWorld) -> dict[str, Any]:
    found = world.api("GET", f"/api/v1/nodes/{NODE}")["status"].get("conditions", ())
    return next((one for one in found if one["type"] == "NetworkUnavailable"), {})


def test_a_nodes_condition_says_whether_felix_runs(world: ApiWorld) -> None:
    kubernetes_node(world, NODE)
    calico_node(world, NODE, NODE)

    async def scenario(client: Client, store: Store) -> None:
        reporter = Reporter(client, "test", "host", lambda: True)
        service = NetworkCondition(client, store, reporter, settle_s=0.05)
        async with running(service):
            await reached(lambda: condition(world).get("status") == "False", "the network is available")
            assert condition(world)["reason"] == "CalicoIsUp"
            world.kill("felix")
            await reached(lambda: condition(world).get("status") == "True", "it is not")
            assert condition(world)["reason"] == "FelixNotReporting"
            await asyncio.to_thread(world.start_felix)
            await reached(lambda: condition(world).get("status") == "False", "it is again")

    world.run(scenario)


def test_a_nodes_condition_says_whether_its_bgp_agent_answers(world: ApiWorld) -> None:
    kubernetes_node(world, NODE)
    refs = [{"nodeName": NODE, "orchestrator": "k8s"}]
    world.put("Node", "nodes", NODE, {"orchRefs": refs, "bgp": {"ipv4Address": "172.30.0.1/24"}})
    world.start_bgp()

    async def scenario(client: Client, store: Store) -> None:
        reporter = Reporter(client, "test", "host", lambda: True)
        options = {"ask_every_s": 1, "silent_s": 4, "period_s": 0.5, "settle_s": 0.05}
        async with running(NetworkCondition(client, store, reporter, **options)):
            await reached(lambda: "and BIRD" in condition(world).get("message", ""), "Felix and BIRD run")
            assert condition(world)["status"] == "False"
            world.kill("bgp")
            await reached(lambda: condition(world).get("status") == "True", "the network is unavailable")
            assert condition(world)["reason"] == "BGPAgentNotReporting"

    try:
        world.run(scenario)
    finally:
        world.kill("bgp")
        world.stop_bird()


def test_a_pod_whose_endpoint_cannot_be_programmed_is_told_why(world: ApiWorld) -> None:
    kubernetes_node(world, NODE)
    calico_node(world, NODE, NODE)
    pod = world.pod("unlucky")
    pod.add()
    world.ip(world.host, "route add 192.0.2.50/32 dev lo")

    async def scenario(client: Client, store: Store) -> None:
        from msgspec.structs import replace

        (endpoint,) = await store.list("WorkloadEndpoint")
        spec = replace(endpoint.spec, ip_networks=(*endpoint.spec.ip_networks, "192.0.2.50/32"))
        await store.update(replace(endpoint, spec=spec))
        reporter = Reporter(client, "test", "host", lambda: True)
        async with running(NetworkCondition(client, store, reporter, settle_s=0.05), reporter):

            def events() -> list[dict[str, Any]]:
                found = world.api("GET", "/api/v1/namespaces/default/events")["items"]
                return [one for one in found if one["involvedObject"]["name"] == "unlucky"]

            await reached(events, "there is an Event")
            (told,) = events()
            assert (told["reason"], told["type"]) == ("NetworkNotProgrammed", "Warning")
            assert "192.0.2.50" in told["message"]

    try:
        world.run(scenario)
    finally:
        world.ip(world.host, "route del 192.0.2.50/32 dev lo")
