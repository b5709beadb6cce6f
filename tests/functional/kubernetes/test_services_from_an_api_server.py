"""The service controller between a real API server and a real etcd."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import pytest

from calico.datastore.api import Op
from calico.datastore.etcd.backend import EtcdBackend
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY
from calico.model.kubernetes.services import (
    KUBERNETES_PREFIX,
    SOURCE_KEY,
    EndpointSliceRecord,
    ServiceKey,
    ServiceRecord,
    SliceEndpoint,
    SliceKey,
    SlicePort,
    decode_service,
    decode_slice,
    encode_record,
    service_path,
)
from calico.orchestrators.kubernetes.api.client import Client
from calico.orchestrators.kubernetes.controllers.services import ServiceController, slices_path
from cluster.loopback import KubernetesServers

pytestmark = [pytest.mark.etcd, pytest.mark.kubernetes, pytest.mark.timeout(180)]

SLICES = "/apis/discovery.k8s.io/v1beta1/namespaces/shop/endpointslices"
SERVICES = "/api/v1/namespaces/shop/services"
WEB = service_path(ServiceKey("shop", "web"))


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesServers]:
    made = KubernetesServers(tmp_path_factory.mktemp("kube"))
    yield made
    made.close()


class Cluster:
    """Both servers' clients, and a controller that a test starts."""

    def __init__(self, servers: KubernetesServers) -> None:
        self.servers = servers
        self.api, self.store = Client(servers.connection), EtcdBackend((servers.etcd_url,))
        self.said: dict[str, set[str]] = {}
        self.controller: ServiceController | None = None
        self._running: asyncio.Task[None] | None = None

    def _warn(self, found: Mapping[str, Any], reason: str, message: str) -> None:
        self.said.setdefault(f"{found['kind']} {found['metadata']['name']}", set()).add(message.split(":")[0])

    async def ready(self, ready: bool) -> None:
        """The datastore is unlocked, or locked."""
        text = f'{{"spec":{{"datastoreReady":{"true" if ready else "false"}}}}}'
        await self.store.txn([Op(CLUSTER_INFO_KEY, text.encode())])

    async def start(self, resync_s: float = 300.0) -> None:
        self.controller = ServiceController(self.api, self.store, self._warn, resync_s=resync_s)
        self._running = asyncio.create_task(self.controller.run())
        await self.controller.synced.wait()

    async def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running

    def troubles(self) -> list[str]:
        return self.controller.troubles() if self.controller is not None else []

    async def keys(self) -> dict[str, bytes]:
        return {
            item.key: item.value for item in (await self.store.list(KUBERNETES_PREFIX)).items if "/shop/" in item.key
        }

    async def until(self, right: Callable[[dict[str, bytes]], bool]) -> None:
        async with asyncio.timeout(60):
            while not right(await self.keys()):
                await asyncio.sleep(0.05)

    async def service(self, name: str, **spec: Any) -> None:
        ports = {"ports": [{"port": 80, "targetPort": 8080}]}
        await self.api.create(SERVICES, {"metadata": {"name": name}, "spec": ports | spec})

    async def slice(self, name: str, service: str, *addresses: str, port: int = 8080) -> None:
        endpoints = [{"addresses": [a], "topology": {"kubernetes.io/hostname": "n1"}} for a in addresses]
        labels = {"kubernetes.io/service-name": service}
        body = {"metadata": {"name": name, "labels": labels}, "addressType": "IPv4", "endpoints": endpoints}
        await self.api.create(SLICES, body | {"ports": [{"name": "", "protocol": "TCP", "port": port}]})


@pytest.fixture
async def cluster(servers: KubernetesServers) -> AsyncIterator[Cluster]:
    made = Cluster(servers)
    with suppress(Exception):
        await made.api.create("/api/v1/namespaces", {"metadata": {"name": "shop"}})
    await made.ready(True)
    yield made
    await made.stop()
    for collection in (SERVICES, SLICES):
        for item in (await made.api.list(collection))[0]:
            await made.api.delete(f"{collection}/{item['metadata']['name']}")
    await made.store.txn([Op(key) for key in (*await made.keys(), SOURCE_KEY)])
    await made.api.close()
    await made.store.close()


def _slice(service: str, name: str) -> str:
    return service_path(SliceKey("shop", service, name))


async def test_the_newest_version_that_a_server_has_is_read(cluster: Cluster) -> None:
    assert await slices_path(cluster.api) == "/apis/discovery.k8s.io/v1beta1/endpointslices"


async def test_services_and_slices_come_change_and_go(cluster: Cluster) -> None:
    await cluster.service("web", type="NodePort", externalIPs=["192.0.2.7"], externalTrafficPolicy="Local")
    await cluster.slice("web-1", "web", "10.65.0.2")
    await cluster.start()
    keys = await cluster.keys()
    service = decode_service(ServiceKey("shop", "web"), keys[WEB])
    assert (service.external_ips, service.local_only) == (("192.0.2.7",), True)
    assert service.cluster_ips[0].startswith("10.96.")
    told = decode_slice(SliceKey("shop", "web", "web-1"), keys[_slice("web", "web-1")])
    assert told == EndpointSliceRecord((SlicePort(8080),), (SliceEndpoint(("10.65.0.2",), "n1"),))
    assert (await cluster.store.get(SOURCE_KEY)) is not None

    await cluster.slice("web-2", "web", "10.65.0.3")
    await cluster.until(lambda keys: _slice("web", "web-2") in keys)
    other = {"metadata": {"labels": {"kubernetes.io/service-name": "shop"}}}
    await cluster.api.patch(f"{SLICES}/web-2", other)
    await cluster.until(lambda keys: _slice("shop", "web-2") in keys and _slice("web", "web-2") not in keys)
    await cluster.api.delete(f"{SERVICES}/web")
    await cluster.api.delete(f"{SLICES}/web-1")
    await cluster.until(lambda keys: set(keys) == {_slice("shop", "web-2")})


async def test_what_happened_while_nobody_ran_is_made_up_for_and_nothing_is_written_twice(cluster: Cluster) -> None:
    await cluster.service("web")
    gone = encode_record(ServiceRecord(cluster_ips=("10.96.9.9",)))
    await cluster.store.txn([Op(service_path(ServiceKey("shop", "gone")), gone), Op(_slice("web", "gone"), b"{}")])
    await cluster.start()
    assert set(await cluster.keys()) == {WEB}
    await cluster.stop()
    revisions = {item.key: item.mod_revision for item in (await cluster.store.list(KUBERNETES_PREFIX)).items}
    await cluster.start()
    again = {item.key: item.mod_revision for item in (await cluster.store.list(KUBERNETES_PREFIX)).items}
    assert again == revisions


async def test_what_others_did_to_the_keys_is_mended(cluster: Cluster) -> None:
    await cluster.service("web")
    await cluster.start(resync_s=0.2)
    right = (await cluster.keys())[WEB]
    await cluster.store.txn(
        [Op(WEB, b"damaged"), Op(SOURCE_KEY), Op(service_path(ServiceKey("shop", "forged")), b"{}")]
    )
    await cluster.until(lambda keys: keys == {WEB: right})
    async with asyncio.timeout(60):
        while await cluster.store.get(SOURCE_KEY) is None:
            await asyncio.sleep(0.05)


async def test_while_the_datastore_is_locked_nothing_is_written(cluster: Cluster) -> None:
    await cluster.start()
    await cluster.ready(False)
    await cluster.service("web")
    await cluster.until(lambda _: any("not ready" in said or "datastore" in said for said in cluster.troubles()))
    assert not await cluster.keys()
    await cluster.ready(True)
    await cluster.until(lambda keys: WEB in keys)


async def test_what_cannot_be_told_of_a_slice_is_reported(cluster: Cluster) -> None:
    labels = {"kubernetes.io/service-name": "web"}
    body = {"metadata": {"name": "all-ports", "labels": labels}, "addressType": "IPv4"}
    await cluster.api.create(SLICES, body | {"endpoints": [{"addresses": ["10.65.0.2"]}], "ports": [{"name": ""}]})
    await cluster.start()
    assert cluster.said == {"EndpointSlice all-ports": {"ports[0].port"}}


async def test_a_burst_of_slices_ends_as_a_recomputation_would_although_both_servers_died_in_it(
    cluster: Cluster, servers: KubernetesServers
) -> None:
    await cluster.start()
    for number in range(120):
        await cluster.slice(f"web-{number}", f"web-{number % 7}", f"10.65.1.{number}")
        if number == 60:
            await asyncio.to_thread(servers.kill, "apiserver")
            await asyncio.to_thread(servers.kill, "etcd")
            await asyncio.to_thread(servers.start, "etcd")
            await asyncio.to_thread(servers.start, "apiserver")
    for number in range(0, 120, 3):
        await cluster.api.delete(f"{SLICES}/web-{number}")
    wanted = {_slice(f"web-{number % 7}", f"web-{number}") for number in range(120) if number % 3}
    await cluster.until(lambda keys: set(keys) == wanted)
    await cluster.stop()
    live = await cluster.keys()
    await cluster.store.txn([Op(key) for key in live])
    await cluster.start()
    assert await cluster.keys() == live
