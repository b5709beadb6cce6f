"""What ``bench/datastore.py`` measures, each in a process of its own, so that memory is that of one part alone.

A part is called with the endpoint and a count, and answers with seconds by name. The raw ones use gRPC, JSON and etcd's
own messages and nothing else of ours.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc

import calico
from calico.datastore.api import Op, SyncStatus, Update
from calico.datastore.etcd.backend import EtcdBackend
from calico.datastore.etcd.wire import METHODS, message
from calico.datastore.sync.syncer import Syncer
from calico.datastore.typed.store import Store
from calico.model.manifest import to_resource

PREFIX = "/calico/resources/v3/projectcalico.org/workloadendpoints/"
POLICIES = "/calico/resources/v3/projectcalico.org/networkpolicies/shop/"
PAGE = 10_000
Took = dict[str, float]
clock = time.perf_counter


def endpoint(number: int, change: str = "0") -> bytes:
    """As a CNI plugin writes it; ``change`` makes it another one."""
    name = f"node{number % 500}-k8s-pod--{number}-eth0"
    labels = {"app": f"app-{number % 100}", "zone": f"z{number % 3}", "projectcalico.org/namespace": "shop"}
    spec = {
        "orchestrator": "k8s", "node": f"node{number % 500}", "containerID": f"{number:064x}", "pod": f"pod-{number}",
        "endpoint": "eth0", "profiles": ["kns.shop", "ksa.shop.default"], "interfaceName": f"cali{number:011x}",
        "ipNetworks": [f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}/32"], "mac": "ee:ee:ee:ee:ee:ee",
    }  # fmt: skip
    metadata = {
        "name": name, "namespace": "shop", "uid": f"11111111-1111-1111-1111-{number:012}",
        "creationTimestamp": "2026-08-22T13:33:20Z", "labels": {**labels, "change": change},
    }  # fmt: skip
    document = {"kind": "WorkloadEndpoint", "apiVersion": "projectcalico.org/v3", "metadata": metadata, "spec": spec}
    return json.dumps(document, separators=(",", ":")).encode()


def policy(number: int, order: int = 1) -> dict[str, Any]:
    """As an operator writes it."""
    source = {"selector": "role == 'front'", "nets": ["10.0.0.0/8"]}
    rule = {"action": "Allow", "protocol": "TCP", "source": source, "destination": {"ports": [80, 443]}}
    spec = {"order": order, "selector": f"app == 'web-{number}'", "types": ["Ingress"], "ingress": [rule]}
    metadata = {"name": f"policy-{number:05}", "namespace": "shop"}
    return {"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


async def write_endpoints(url: str, count: int, per_txn: int = 100) -> None:
    """Each time with other values: a syncer does not deliver what is the same."""
    backend, written = EtcdBackend([url]), str(time.time_ns())
    for start in range(0, count, per_txn):
        numbers = range(start, min(start + per_txn, count))
        await backend.txn([Op(f"{PREFIX}shop/{n:06}", endpoint(n, written)) for n in numbers])
    await backend.close()


class Bare:
    """etcd by gRPC alone."""

    def __init__(self, url: str) -> None:
        options = [("grpc.max_receive_message_length", -1)]
        self._channel = grpc.insecure_channel(url.partition("//")[2], options=options)

    def call(self, name: str, request: Any) -> Any:
        method = METHODS[name]
        serialize, parse = message(method.request).SerializeToString, message(method.response).FromString
        call = self._channel.unary_unary(method.path, request_serializer=serialize, response_deserializer=parse)
        return call(request)

    def write(self, key: str, value: bytes | None, revision: int) -> int:
        """Compare-and-swap of one key; its new revision."""
        compare = message("Compare")(target=2, key=key.encode(), mod_revision=revision)
        if value is None:
            change = {"request_delete_range": message("DeleteRangeRequest")(key=key.encode())}
        else:
            change = {"request_put": message("PutRequest")(key=key.encode(), value=value)}
        request = message("TxnRequest")(compare=[compare], success=[message("RequestOp")(**change)])
        response = self.call("Txn", request)
        assert response.succeeded
        return int(response.header.revision)


def raw_list(url: str, count: int) -> Took:
    """Range in pages, and json.loads of every value."""
    bare, start, trees = Bare(url), PREFIX.encode(), []
    began = clock()
    while True:
        end = PREFIX[:-1].encode() + b"0"
        page = bare.call("Range", message("RangeRequest")(key=start, range_end=end, limit=PAGE))
        trees += [json.loads(kv.value) for kv in page.kvs]
        if not page.more:
            break
        start = page.kvs[-1].key + b"\0"
    assert len(trees) == count
    return {"list": clock() - began}


def our_list(url: str, count: int) -> Took:
    """Typed resources from the store."""

    async def run() -> Took:
        backend = EtcdBackend([url])
        began = clock()
        found = await Store(backend).list("WorkloadEndpoint")
        took = clock() - began
        assert len(found) == count
        await backend.close()
        return {"list": took}

    return asyncio.run(run())


class Counter:
    """A sink that counts, and tells when it has heard a number of updates."""

    def __init__(self) -> None:
        self.updates, self._wanted, self._reached = 0, 0, asyncio.Event()

    def on_status(self, status: SyncStatus, reason: str = "") -> None:
        pass

    def on_updates(self, updates: Sequence[Update], revision: int) -> None:
        self.updates += len(updates)
        if self.updates >= self._wanted:
            self._reached.set()

    async def reached(self, count: int) -> None:
        self._wanted = count
        self._reached.clear()
        if self.updates < count:
            await self._reached.wait()


def follow(url: str, count: int) -> Took:
    """First synchronisation of all, then as many live changes of which another process writes as many as it can."""

    async def run() -> Took:
        backend, sink = EtcdBackend([url]), Counter()
        began = clock()
        task = asyncio.create_task(Syncer(backend, [PREFIX], sink).run())
        await sink.reached(count)
        synced = clock() - began
        writer = await asyncio.create_subprocess_exec(sys.executable, __file__, "change", url, str(count))
        began = clock()
        await sink.reached(count + count // 5)
        took = clock() - began
        await writer.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await backend.close()
        return {"first sync": synced, "live": took}

    return asyncio.run(run())


def etcdctl_follow(url: str, count: int) -> Took:
    """The same live changes, told by etcdctl."""
    command = ["etcdctl", "--endpoints", url, "watch", "--prefix", PREFIX]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={"ETCDCTL_API": "3"}) as watcher:
        assert watcher.stdout is not None
        time.sleep(1.0)  # it does not say when it begins
        with subprocess.Popen([sys.executable, __file__, "change", url, str(count)]) as writer:
            began = clock()
            left = count // 5
            while left:
                left -= watcher.stdout.readline() == b"PUT\n"
            took = clock() - began
            writer.wait()
        watcher.terminate()
    return {"live": took}


def change(url: str, count: int) -> Took:
    """Writes a fifth of the endpoints anew."""
    asyncio.run(write_endpoints(url, count // 5))
    return {}


def raw_crud(url: str, count: int) -> Took:
    """Compare-and-swap of what the API would store, one by one."""
    bare, took = Bare(url), {}
    values = [json.dumps(policy(n), separators=(",", ":")).encode() for n in range(count)]
    keys = [f"{POLICIES}bare-{n:05}" for n in range(count)]
    began = clock()
    revisions = [bare.write(key, value, 0) for key, value in zip(keys, values, strict=True)]
    took["create"] = clock() - began
    began = clock()
    for key in keys:
        json.loads(bare.call("Range", message("RangeRequest")(key=key.encode())).kvs[0].value)
    took["read"] = clock() - began
    began = clock()
    revisions = [bare.write(key, value, at) for key, value, at in zip(keys, values, revisions, strict=True)]
    took["update"] = clock() - began
    began = clock()
    for key, at in zip(keys, revisions, strict=True):
        bare.write(key, None, at)
    return {**took, "delete": clock() - began}


def api_crud(url: str, count: int) -> Took:
    """The same by ``calico.connect()``, typed and validated."""
    took = {}
    policies: list[Any] = [to_resource("bench", policy(n)) for n in range(count)]
    with calico.connect(url) as client:
        began = clock()
        made = [client.network_policies.create(item) for item in policies]
        took["create"] = clock() - began
        began = clock()
        for item in policies:
            client.network_policies.get(item.metadata.name, "shop")
        took["read"] = clock() - began
        began = clock()
        for item in made:
            client.network_policies.replace(item)
        took["update"] = clock() - began
        began = clock()
        for item in policies:
            client.network_policies.delete(item.metadata.name, "shop")
        return {**took, "delete": clock() - began}


PARTS: dict[str, Callable[[str, int], Took]] = {
    part.__name__: part for part in (raw_list, our_list, follow, etcdctl_follow, change, raw_crud, api_crud)
}

if __name__ == "__main__":
    answer = PARTS[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
    if answer:
        print(json.dumps(answer))
