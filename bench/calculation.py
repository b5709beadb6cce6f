"""How long the calculation takes from nothing to in-sync, per update after that, and what a remote endpoint weighs.

    python bench/calculation.py [--quick]

A cluster of 100 000 endpoints in 2 000 applications of 100 namespaces, 10 000 policies of five rules, 200 endpoints on
this host. Machines differ, so every time is also given as a multiple of decoding the same JSON with msgspec in the
same run. Results go to bench/results/calculation.json.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from calico.calc.graph import Graph
from calico.calc.messages import Message
from calico.model.keys import ResourceKey
from calico.model.meta import Resource
from calico.model.policy import GlobalNetworkSet, NetworkPolicy, Profile
from calico.model.workload import WorkloadEndpoint

HOST = "node-0"
RESULTS = Path(__file__).parent / "results"
KINDS = {cls.__name__: cls for cls in (WorkloadEndpoint, NetworkPolicy, Profile, GlobalNetworkSet)}
Stored = tuple[ResourceKey, bytes]


class Cluster:
    """A reproducible cluster as it lies in the datastore: keys and JSON."""

    def __init__(self, endpoints: int, policies: int, local: int) -> None:
        self.endpoints, self.policies, self.local = endpoints, policies, local
        self.namespaces = 100
        self.apps = max(endpoints // 50, 1)

    def stored(self) -> Iterator[Stored]:
        for number in range(self.namespaces):
            labels = {"pcns.team": f"team-{number % 10}", "pcns.projectcalico.org/name": f"ns-{number}"}
            rules = [{"action": "Allow"}]
            yield self._json("Profile", "", f"kns.ns-{number}", {"labelsToApply": labels, "egress": rules})
        for number in range(100):
            yield self.netset(number, 20)
        for number in range(self.endpoints):
            yield self.endpoint(number)
        for number in range(self.policies):
            yield self.policy(number)

    def endpoint(self, number: int, **labels: str) -> Stored:
        """An endpoint; the local ones are spread evenly over the applications."""
        app = (number + number // (self.endpoints // self.local)) % self.apps
        namespace = app % self.namespaces
        node = 0 if number % (self.endpoints // self.local) == 0 else 1 + number % 1000
        pod = f"app-{app}-{number:06x}"
        name = f"node--{node}-k8s-{pod.replace('-', '--')}-eth0"
        address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}/32"
        spec = {
            "orchestrator": "k8s",
            "node": f"node-{node}",
            "pod": pod,
            "endpoint": "eth0",
            "ipNetworks": [address],
            "profiles": [f"kns.ns-{namespace}", f"ksa.ns-{namespace}.default"],
            "interfaceName": f"cali{number:011x}",
            "mac": "ee:ee:ee:ee:ee:ee",
            "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
        }
        own = {
            "app": f"app-{app}",
            "tier": ("front", "back", "data")[app % 3],
            "projectcalico.org/namespace": f"ns-{namespace}",
            "projectcalico.org/orchestrator": "k8s",
            **labels,
        }
        return self._json("WorkloadEndpoint", f"ns-{namespace}", name, spec, own)

    def policy(self, number: int, last_port: int = 443) -> Stored:
        app = number % self.apps
        source = f"app == 'app-{(app + self.namespaces) % self.apps}'"
        ingress: list[dict[str, Any]] = [
            {"action": "Allow", "protocol": "TCP", "source": {"selector": source}, "destination": {"ports": [80]}},
            {"action": "Allow", "protocol": "TCP", "destination": {"ports": ["http"]}},
            {"action": "Allow", "protocol": "TCP", "source": {"selector": f"set == 'set-{number % 100}'"}},
            {"action": "Allow", "protocol": "UDP", "source": {"nets": ["10.0.0.0/8"]}},
            {"action": "Deny", "protocol": "TCP", "destination": {"ports": [last_port, "8000:8010"]}},
        ]
        spec = {"order": number, "selector": f"app == 'app-{app}'", "types": ["Ingress"], "ingress": ingress}
        return self._json("NetworkPolicy", f"ns-{app % self.namespaces}", f"policy-{number}", spec)

    def netset(self, number: int, size: int) -> Stored:
        nets = [f"192.{number}.{net}.0/24" for net in range(size)]
        return self._json("GlobalNetworkSet", "", f"set-{number}", {"nets": nets}, {"set": f"set-{number}"})

    @staticmethod
    def _json(kind: str, namespace: str, name: str, spec: object, labels: dict[str, str] | None = None) -> Stored:
        metadata = {"name": name, "namespace": namespace, "labels": labels or {}, "uid": f"uid-{name}"}
        value = {"kind": kind, "apiVersion": "projectcalico.org/v3", "metadata": metadata, "spec": spec}
        return ResourceKey(kind, namespace, name), msgspec.json.encode(value)


class Feed:
    """Decodes as the syncer would and keeps the time apart."""

    def __init__(self) -> None:
        self.decoders: dict[str, msgspec.json.Decoder[Any]] = {
            kind: msgspec.json.Decoder(cls) for kind, cls in KINDS.items()
        }
        self.decode_s = 0.0
        self.calc_s = 0.0

    def give(self, graph: Graph, stored: Stored) -> None:
        key, text = stored
        start = time.perf_counter()
        value: Resource = self.decoders[key.kind].decode(text)
        decoded = time.perf_counter()
        graph.on_resource(key, value)
        self.calc_s += time.perf_counter() - decoded
        self.decode_s += decoded - start

    def flush(self, graph: Graph) -> list[Message]:
        start = time.perf_counter()
        messages = graph.flush()
        self.calc_s += time.perf_counter() - start
        return messages


def load(cluster: Cluster) -> tuple[Graph, dict[str, float]]:
    graph, feed = Graph(HOST), Feed()
    for stored in cluster.stored():
        feed.give(graph, stored)
    graph.on_in_sync()
    messages = feed.flush(graph)
    return graph, {
        "decode_s": feed.decode_s,
        "calculate_s": feed.calc_s,
        "ratio": feed.calc_s / feed.decode_s,
        "messages": len(messages),
    }


def updates(graph: Graph, change: Callable[[int], Stored], rounds: int) -> dict[str, float]:
    """Median time of one change and its flush, and as a multiple of decoding that change."""
    decode_us, calc_us, messages = [], [], 0
    for number in range(rounds):
        feed = Feed()
        feed.give(graph, change(number))
        messages += len(feed.flush(graph))
        decode_us.append(feed.decode_s * 1e6)
        calc_us.append(feed.calc_s * 1e6)
    decode, calc = statistics.median(decode_us), statistics.median(calc_us)
    return {"decode_us": decode, "calculate_us": calc, "ratio": calc / decode, "messages": messages}


def measure_updates(cluster: Cluster, graph: Graph, rounds: int) -> dict[str, dict[str, float]]:
    dice = random.Random(1)
    remote = [n for n in range(cluster.endpoints) if n % (cluster.endpoints // cluster.local)]
    spread = dice.sample(remote, min(rounds, len(remote)))
    step = cluster.endpoints // cluster.local
    return {
        "endpoint added": updates(graph, lambda n: cluster.endpoint(cluster.endpoints + 1 + n * step), rounds),
        "remote endpoint relabelled": updates(
            graph, lambda n: cluster.endpoint(spread[n % len(spread)], app=f"app-{n % cluster.apps}"), rounds
        ),
        "local endpoint relabelled": updates(
            graph, lambda n: cluster.endpoint(n % cluster.local * step, extra=str(n)), rounds
        ),
        "policy changed": updates(graph, lambda n: cluster.policy(n % cluster.policies, 1000 + n), rounds),
        "network set changed": updates(graph, lambda n: cluster.netset(n % 100, 10 + n % 10), rounds),
    }


def bytes_per_remote_endpoint(cluster: Cluster, count: int) -> float:
    """Growth of traced memory per remote endpoint; keys included, though the syncer shares them."""
    numbers = [n for n in range(cluster.endpoints) if n % (cluster.endpoints // cluster.local)][:count]
    graph, feed = Graph(HOST), Feed()
    for number in range(cluster.namespaces):
        labels = {"pcns.team": f"team-{number % 10}", "pcns.projectcalico.org/name": f"ns-{number}"}
        feed.give(graph, cluster._json("Profile", "", f"kns.ns-{number}", {"labelsToApply": labels}))
    for number in range(0, cluster.endpoints, cluster.endpoints // cluster.local):
        feed.give(graph, cluster.endpoint(number))
    for number in range(cluster.policies):
        feed.give(graph, cluster.policy(number))
    graph.on_in_sync()
    graph.flush()
    gc.collect()
    tracemalloc.start()
    for number in numbers:
        feed.give(graph, cluster.endpoint(number))
    graph.flush()
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size / len(numbers)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="a tenth of the cluster")
    quick = arguments.parse_args().quick
    cluster = Cluster(10_000, 1_000, 200) if quick else Cluster(100_000, 10_000, 200)
    graph, in_sync = load(cluster)
    rounds = 200 if quick else 1000
    results: dict[str, Any] = {
        "endpoints": cluster.endpoints,
        "policies": cluster.policies,
        "local": cluster.local,
        "in_sync": in_sync,
        "updates": measure_updates(cluster, graph, rounds),
    }
    del graph
    results["bytes_per_remote_endpoint"] = bytes_per_remote_endpoint(cluster, 5_000 if quick else 20_000)
    _print(results)
    RESULTS.mkdir(exist_ok=True)
    name = "calculation-quick.json" if quick else "calculation.json"
    (RESULTS / name).write_text(json.dumps(results, indent=2) + "\n")


def _print(results: dict[str, Any]) -> None:
    sync = results["in_sync"]
    print(f"{results['endpoints']} endpoints, {results['policies']} policies, {results['local']} local endpoints")
    print(f"{'':32}{'decode':>12}{'calculate':>12}{'ratio':>8}")
    print(f"{'to in-sync, s':32}{sync['decode_s']:12.2f}{sync['calculate_s']:12.2f}{sync['ratio']:8.1f}")
    for name, update in results["updates"].items():
        print(f"{name + ', µs':32}{update['decode_us']:12.1f}{update['calculate_us']:12.1f}{update['ratio']:8.1f}")
    print(f"bytes per remote endpoint: {results['bytes_per_remote_endpoint']:.0f}")


if __name__ == "__main__":
    main()
