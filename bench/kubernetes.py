"""How long a change of the Kubernetes API takes to the packets, against the same change written to etcd directly.

A real API server, our controllers, two hosts of the lab with Felix; pods are plain namespaces that the CNI plugin
attaches. First pods and policies in a burst, then single policies that open a closed pod: once through the API, once as
what the controllers would make of it, in turns. Quantities have the names that ClusterLoader2 has for them. A machine
with two processors runs all of it; only ratios within one run mean anything. Writes bench/results/kubernetes.json.

    python bench/kubernetes.py [--quick]            1,000 pods and 500 policies; with --quick 60 and 50
"""

from __future__ import annotations

import argparse
import base64
import json
import platform
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT.parent / "tests"))

import msgspec  # noqa: E402

from calico.dataplane.netns import in_netns  # noqa: E402
from calico.lab.topology import parse_topology  # noqa: E402
from calico.model.encoding import to_stored  # noqa: E402
from calico.orchestrators.kubernetes.convert.closed import network_policy_or_closed  # noqa: E402
from cluster.burst import NAMESPACE, end_all, leaks, policies, recomputed, run_all, state  # noqa: E402
from cluster.network import Network  # noqa: E402

RESULTS = ROOT / "results" / "kubernetes.json"
LAB = "kbench"
POOLS = [{"cidr": "10.64.0.0/15"}, {"cidr": "fd00:65::/64"}]
TOPOLOGY = {"name": LAB, "pools": POOLS, "hosts": [{"name": "node1"}, {"name": "node2"}]}
GROUP = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies"
CREATION = "policy_enforcement_latency_policy_creation_seconds"
ADDRESS = "pod_ip_address_assigned_latency_seconds"
PORT, STEP_S = 9000, 0.0005
WRITER = """
import asyncio, base64, sys
from calico.datastore.api import Op
from calico.datastore.etcd.backend import EtcdBackend
async def main():
    store = EtcdBackend(sys.argv[1].split(","))
    loop = asyncio.get_running_loop()
    await store.revision()
    print("ready", flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        key, _, value = line.strip().partition(" ")
        await store.txn([Op(key, base64.b64decode(value) if value else None)])
        print("done", flush=True)
asyncio.run(main())
"""


class Writer:
    """A process beside etcd that writes keys with our client; nothing is started for a write."""

    def __init__(self, network: Network) -> None:
        urls = ",".join(f"http://{endpoint}" for endpoint in network.layout.etcd_endpoints)
        command = ["nsenter", f"--net=/run/netns/{network.layout.netns('gw')}", sys.executable, "-c", WRITER, urls]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def write(self, key: str, value: bytes | None) -> None:
        """Put, or (None) delete."""
        assert self._process.stdin is not None
        text = base64.b64encode(value).decode() if value is not None else ""
        self._process.stdin.write(f"{key} {text}\n")
        self._process.stdin.flush()
        self._answer()

    def _answer(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), "the writer ended"

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class Stream:
    """Numbered packets from one pod to another, and which arrive."""

    def __init__(self, network: Network, src: str, dst: str) -> None:
        pods = network.pods
        self._to = (pods[f"{NAMESPACE}-{dst}"].addresses[0], PORT)
        self._out = in_netns(pods[f"{NAMESPACE}-{src}"].netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._in = in_netns(pods[f"{NAMESPACE}-{dst}"].netns, self._listener)

    @staticmethod
    def _listener() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(("0.0.0.0", PORT))
        made.setblocking(False)
        return made

    def passes(self) -> float | None:
        """Sends one packet; when it was sent if one that was sent in this call or shortly before has arrived."""
        sent = time.monotonic()
        self._out.sendto(b"x", self._to)
        time.sleep(STEP_S)
        try:
            self._in.recv(16)
        except BlockingIOError:
            return None
        return sent

    def until(self, passes: bool, limit_s: float = 60) -> float:
        """When packets began to pass; or returns once twenty in a row did not."""
        quiet, deadline = 0, time.monotonic() + limit_s
        while True:
            sent = self.passes()
            if passes and sent is not None:
                return sent
            quiet = 0 if sent is not None else quiet + 1
            if not passes and quiet >= 20:
                return time.monotonic()
            assert time.monotonic() < deadline, "packets do not do what policy says"


def enforced(stream: Stream, write: Callable[[], None], undo: Callable[[], None]) -> float:
    """Seconds from before ``write`` to the first packet that passes."""
    stream.until(False)
    began = time.monotonic()
    write()
    latency = stream.until(True) - began
    undo()
    return latency


def quantiles(values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": round(cuts[49], 4), "p99": round(cuts[98], 4), "samples": len(values)}


def opening(number: int) -> dict[str, Any]:
    """The policy that lets w0 reach w1, under a name of its own."""
    rule = {"from": [{"podSelector": {"matchLabels": {"group": "g0"}}}], "ports": [{"protocol": "UDP", "port": PORT}]}
    spec = {"podSelector": {"matchLabels": {"group": "g1"}}, "policyTypes": ["Ingress"], "ingress": [rule]}
    return {"metadata": {"name": f"open{number}", "namespace": NAMESPACE}, "spec": spec}


def latencies(network: Network, rounds: int) -> dict[str, list[float]]:
    """In turns through the API and directly."""
    api, stream, writer = network.plane.api, Stream(network, "w0", "w1"), Writer(network)
    found: dict[str, list[float]] = {"api": [], "direct": []}
    try:
        for number in range(rounds):
            policy = opening(number)
            path = f"{GROUP}/{policy['metadata']['name']}"
            found["api"].append(
                enforced(stream, lambda policy=policy: api.create(GROUP, policy), lambda path=path: api.delete(path))
            )
            made = network_policy_or_closed(policy).policy
            renamed = json.loads(msgspec.json.encode(to_stored(made)))
            renamed["metadata"]["name"] = f"direct{number}"
            key = f"/calico/resources/v3/projectcalico.org/networkpolicies/{NAMESPACE}/direct{number}"
            raw = json.dumps(renamed).encode()
            found["direct"].append(
                enforced(
                    stream,
                    lambda key=key, raw=raw: writer.write(key, raw),
                    lambda key=key: writer.write(key, None),
                )
            )
    finally:
        writer.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--pods", type=int, help="How many pods.")
    given = parser.parse_args()
    quick = given.quick
    pods, count, rounds, callers = (60, 50, 20, 8) if quick else (1000, 500, 100, 16)
    pods = given.pods or pods
    with Network(parse_topology(json.dumps(TOPOLOGY))) as network:
        network.plane.add_namespace(NAMESPACE)
        began = time.monotonic()
        addressed = run_all(network, pods, callers, ["node1", "node2"])
        pods_s = time.monotonic() - began
        began = time.monotonic()
        for policy in policies(count):
            network.plane.api.create(GROUP, policy)
        written_s = time.monotonic() - began
        network.settle(300)
        settled_s = time.monotonic() - began
        found = latencies(network, rounds)
        network.settle(120)
        after = state(network)
        same = recomputed(network) == after
        end_all(network, callers, list(network.pods.values()))
        lost = leaks(network)
    through, direct = quantiles(found["api"]), quantiles(found["direct"])
    result = {
        "machine": platform.platform(),
        "quick": quick,
        "pods": pods,
        "policies": count,
        "pods_attached_s": round(pods_s, 1),
        "policies_created_s": round(written_s, 1),
        "policies_in_all_kernels_s": round(settled_s, 1),
        ADDRESS: quantiles(addressed),
        CREATION: through,
        f"{CREATION} (written to etcd directly)": direct,
        "ratio_p50": round(through["p50"] / direct["p50"], 2),
        "ratio_p99": round(through["p99"] / direct["p99"], 2),
        "end_equals_recomputation": same,
        "leaked_addresses": len(lost),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    if not same or lost:
        sys.exit("the end is not what a computation from nothing makes, or addresses leaked")


if __name__ == "__main__":
    main()
