"""What the datastore has of a container, also when others damaged it."""

from __future__ import annotations

import pytest

from calico.datastore.api import Op
from calico.datastore.memory import MemoryBackend
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY
from calico.datastore.typed.store import Store
from calico.errors import InvalidInput, Transient
from calico.model.keys import ResourceKey, key_path, kind_prefix
from calico.orchestrators.cni.workload.known import look_up
from calico.orchestrators.cni.workload.names import Attached

ETH0 = Attached(network="net", container_id="0123456789abcdef", interface="eth0", node="a")

HANDLE = "/calico/ipam/v2/handle/net.0123456789abcdef"
READY = b'{"kind":"ClusterInformation","spec":{"datastoreReady":true}}'


async def put(name: str, value: bytes, *others: Op) -> Store:
    backend = MemoryBackend()
    endpoint = Op(kind_prefix("WorkloadEndpoint", "default") + name, value)
    await backend.txn([Op(CLUSTER_INFO_KEY, READY), endpoint, *others])
    return Store(backend)


@pytest.mark.parametrize("interface", ["eth0", "eth1"])
@pytest.mark.parametrize("value", [b"[]", b"garbage", b'{"kind":"WorkloadEndpoint","spec":{"ipNetworks":5}}'])
async def test_an_endpoint_that_cannot_be_read_is_named_and_not_taken_for_gone(interface: str, value: bytes) -> None:
    name = f"a-cni-0123456789abcdef-{interface}"
    with pytest.raises(InvalidInput, match=name):
        await look_up(await put(name, value), ETH0)


async def test_a_damaged_endpoint_of_another_container_is_nobodys_concern() -> None:
    known = await look_up(await put("a-cni-0123456789abcdef0-eth0", b"[]"), ETH0)
    assert known.endpoint is None


async def test_an_address_of_a_sibling_that_is_none_is_named() -> None:
    spec = b'{"node":"a","orchestrator":"cni","containerID":"0123456789abcdef","endpoint":"eth1","ipNetworks":["zzz"]}'
    value = b'{"kind":"WorkloadEndpoint","apiVersion":"projectcalico.org/v3","metadata":{},"spec":' + spec + b"}"
    known = await look_up(await put("a-cni-0123456789abcdef-eth1", value), ETH0)
    with pytest.raises(InvalidInput, match=r"ipNetworks.*zzz"):
        _ = known.kept_addresses


async def test_a_locked_datastore_is_looked_at_only_by_who_gives_back() -> None:
    store = await put("a-cni-0123456789abcdef-eth1", b"[]")
    await store.backend.txn([Op(CLUSTER_INFO_KEY, READY.replace(b"true", b"false"))])
    with pytest.raises(Transient, match="locked"):
        await look_up(store, ETH0)
    with pytest.raises(InvalidInput, match="eth1"):
        await look_up(store, ETH0, even_locked=True)


async def test_one_reading_tells_of_the_handle_and_of_the_profile() -> None:
    name = "b-cni-0123456789abcdef-eth0"  # another node's: a reading of this one finds no endpoint
    profile = Op(key_path(ResourceKey("Profile", "", "net")), b"{}")
    for ops, expected in (((), (False, False)), ((profile,), (False, True)), ((Op(HANDLE, b"{}"),), (True, False))):
        known = await look_up(await put(name, b"[]", *ops), ETH0)
        assert (known.endpoint, known.has_handle, known.has_profile) == (None, *expected)
