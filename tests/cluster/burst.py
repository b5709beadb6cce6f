"""Many pods and policies at once, and what must be true at the end: what a computation from nothing would make."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cluster.network import Network
from cluster.plain import PlainPod
from stack.process import until

__all__ = ["NAMESPACE", "end_all", "leaks", "policies", "recomputed", "run_all", "state"]

NAMESPACE = "burst"
_GROUPS, _ATTEMPTS = 20, 3
_ORCHESTRATED = ("networkpolicies", "profiles", "globalnetworkpolicies")
_SERVER_MADE = ("uid", "creationTimestamp", "resourceVersion")
_HANDLES = "/calico/ipam/v2/handle/"


def policies(count: int) -> Iterator[dict[str, Any]]:
    """NetworkPolicies of different shapes, over groups of pods that overlap."""
    for number in range(count):
        group, peer = f"g{number % _GROUPS}", {"podSelector": {"matchLabels": {"group": f"g{(number + 7) % _GROUPS}"}}}
        port = {"protocol": "TCP" if number % 3 else "UDP", "port": 1000 + number}
        rule = {"from": [peer], "ports": [port]} if number % 2 else {"ports": [port]}
        spec = {"podSelector": {"matchLabels": {"group": group}}, "policyTypes": ["Ingress"], "ingress": [rule]}
        yield {"metadata": {"name": f"p{number}", "namespace": NAMESPACE}, "spec": spec}


def run_all(network: Network, count: int, callers: int, hosts: list[str]) -> list[float]:
    """``count`` pods, as many at a time as there are callers; seconds from an object's creation to its addresses."""

    def run(number: int) -> float:
        labels = {"group": f"g{number % _GROUPS}"}
        metadata = {"namespace": NAMESPACE, "name": f"w{number}", "labels": labels}
        began = time.monotonic()
        pod = network.place(hosts[number % len(hosts)], {"metadata": metadata})
        for attempt in range(_ATTEMPTS):
            try:
                pod.attach()
                break
            except AssertionError as error:  # "try again later" is no failure: the kubelet makes another sandbox
                if '"code":11,' not in str(error) or attempt == _ATTEMPTS - 1:
                    raise
                pod.detach()
        return time.monotonic() - began

    with ThreadPoolExecutor(callers) as pool:
        return list(pool.map(run, range(count)))


def end_all(network: Network, callers: int, pods: list[PlainPod]) -> None:
    """As the kubelet ends pods, as many at a time as there are callers."""
    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(PlainPod.delete, pods))
    for name, pod in list(network.pods.items()):
        if pod in pods:
            del network.pods[name]


def state(network: Network) -> dict[str, Any]:
    """What the controllers made, without what differs each time that something is made."""
    found: dict[str, Any] = {}
    for plural in _ORCHESTRATED:
        for key, document in network.datastore.resources(plural).items():
            metadata = {name: value for name, value in document["metadata"].items() if name not in _SERVER_MADE}
            found[f"{plural}/{key}"] = {**document, "metadata": metadata}
    told = network.datastore.under("/calico/kubernetes/v1/endpointslices/")
    return found | {f"endpointslices/{key}": value for key, value in told.items()}


def recomputed(network: Network) -> dict[str, Any]:
    """The state that the controllers make when they begin with nothing."""
    network.controllers.kill()
    forget = network.datastore.forget
    for plural in _ORCHESTRATED:
        forget(f"/calico/resources/v3/projectcalico.org/{plural}/")
    forget("/calico/kubernetes/v1/endpointslices/")
    forget("/calico/kubernetes/v1/services/")
    network.controllers.start()
    network.settle(120)
    return state(network)


def leaks(network: Network) -> list[str]:
    """Addresses that IPAM has given to pods that are not there; waits for what is under way."""
    there = {f"k8s-pod-network.{pod.sandbox}" for pod in network.pods.values()}

    def left() -> list[str]:
        handles = network.datastore.under(_HANDLES)
        return sorted(name for name in handles if name.startswith("k8s-pod-network.") and name not in there)

    try:
        until("all addresses are given back", lambda: not left(), 15)
    except AssertionError:
        return left()
    return []
