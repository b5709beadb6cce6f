"""How long a policy change takes from the datastore to the packets, against the least that it could take.

A running host as in the functional tests; workload a sends b a stream of 4000 numbered packets a second, each a
question to the policy. The policy is flipped again and again: the latency is from just before the put until the first
packet (by its sending time) that is judged by the new rules. In turn with that, the floor: the same client watches a
key, and when told of a change programs the same change of a chain by one raw nftables transaction, in a namespace of
its own. Only the ratio within one run means anything. Writes bench/results/latency.json.

    python bench/latency.py [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import json
import platform
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT.parent / "tests" / "functional" / "felix"))

from felix_world import RESOURCES, World, resource  # noqa: E402

from calico.dataplane.netns import create_netns, delete_netns, in_netns  # noqa: E402
from calico.datastore.api import Op  # noqa: E402
from calico.datastore.etcd.backend import EtcdBackend  # noqa: E402
from calico.netlink.nftables.codec import TableCodec, encode_batch, encode_rules  # noqa: E402
from calico.netlink.nftables.expr import Cmp, Meta, Payload, Rule, Verdict  # noqa: E402
from calico.netlink.nftables.objects import Hook, Table  # noqa: E402
from calico.netlink.socket import NETLINK_NETFILTER, NetlinkSocket  # noqa: E402

RESULTS = ROOT / "results" / "latency.json"
URL = "http://127.0.0.1:2379"
PORT = 9000
PERIOD_NS = 250_000
PAUSE_S = 0.04
RATIO_GOAL, P50_GOAL_MS = 3.0, 10.0


def policy(allow: bool) -> bytes:
    rule = {"action": "Allow" if allow else "Deny", "protocol": "UDP", "destination": {"ports": [PORT]}}
    spec = {"selector": "app == 'b'", "types": ["Ingress"], "ingress": [rule]}
    return json.dumps(resource("GlobalNetworkPolicy", "flip", spec)).encode()


# -- the processes inside the namespaces -----------------------------------------------------------------------------


def send(target: str) -> None:
    """Packets with their sending time (monotonic ns) at an even pace, until standard input ends."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        due, count = time.monotonic_ns(), 0
        started = due
        while not ended.is_set():
            now = time.monotonic_ns()
            if now < due:
                time.sleep((due - now) / 1e9)
                continue
            try:
                sock.sendto(struct.pack("!Q", now), (target, PORT))
            except OSError:
                pass
            count += 1
            due = max(due + PERIOD_NS, now - 4 * PERIOD_NS)
    print(json.dumps({"count": count, "seconds": (time.monotonic_ns() - started) / 1e9}))


def receive() -> None:
    """The sending times of all packets that arrive; never answers, so that no connection becomes established."""
    times: list[int] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
        sock.bind(("0.0.0.0", PORT))
        print("ready", flush=True)
        while (data := sock.recv(100)) != b"end":
            times.append(struct.unpack("!Q", data)[0])
    print(json.dumps(times))


class RawChange:
    """One chain on a hook, whose single rule is exchanged by one transaction."""

    def __init__(self, netns: str) -> None:
        self._sock = in_netns(netns, lambda: NetlinkSocket(NETLINK_NETFILTER))
        self._codec = TableCodec(Table("floor"))
        base = self._codec.put_chain("base", Hook("forward", 0))
        self._transact([self._codec.put_table(0), base, self._codec.put_chain("policy", None)])

    def program(self, allow: bool) -> None:
        matches = (Meta("l4proto"), Cmp("eq", b"\x11"), Payload("transport", 2, 2), Cmp("eq", PORT.to_bytes(2, "big")))
        rules = (Rule((*matches, Verdict("accept" if allow else "drop"))), Rule((Verdict("drop"),)))
        bodies, _ = encode_rules(rules, {})
        self._transact([self._codec.flush_chain("policy"), *(self._codec.append_rule("policy", b) for b in bodies)])

    def _transact(self, requests: list[Any]) -> None:
        first = self._sock.next_seq(len(requests) + 2)
        done, failures = self._sock.exchange(encode_batch(requests, first, None), first, first + len(requests) + 1)
        assert done, failures
        assert not failures, failures


async def change(flips: int, floor_netns: str) -> None:
    """Flip the policy and, in turn, the floor's key; prints when each put began and how long each floor took."""
    backend, watcher = EtcdBackend([URL]), EtcdBackend([URL])
    raw = RawChange(floor_netns)
    told: asyncio.Queue[bool] = asyncio.Queue()
    standing = asyncio.Event()

    async def watch() -> None:
        async for batch in watcher.watch("/bench/", (await watcher.revision())[0] + 1):
            standing.set()
            for update in batch.updates:
                raw.program(b"Allow" in (update.value or b""))
                told.put_nowait(True)

    task = asyncio.ensure_future(watch())
    await standing.wait()
    puts: list[int] = []
    floor: list[float] = []
    for flip in range(flips):
        value = policy(flip % 2 == 1)
        puts.append(time.monotonic_ns())
        await backend.txn([Op(f"{RESOURCES}/globalnetworkpolicies/flip", value)])
        await asyncio.sleep(PAUSE_S)
        began = time.monotonic_ns()
        await asyncio.gather(backend.txn([Op("/bench/key", value)]), told.get())
        floor.append((time.monotonic_ns() - began) / 1e6)
        await asyncio.sleep(PAUSE_S / 2 + flip % 7 / 1000)
    task.cancel()
    await backend.close()
    await watcher.close()
    print(json.dumps({"puts": puts, "floor": floor}))


# -- the run ---------------------------------------------------------------------------------------------------------


def measure(flips: int) -> dict[str, Any]:
    world = World(("a", "b"))
    floor_netns = world.netns("f")
    create_netns(floor_netns)
    try:
        world.start_etcd()
        world.cluster()
        world.start_felix()
        world.put_raw({"globalnetworkpolicies/flip": policy(True).decode()})
        receiver = role(world, "b", "receive")
        assert receiver.stdout is not None
        assert receiver.stdout.readline() == "ready\n"
        sender = role(world, "a", "send", world.address("b", 4))
        time.sleep(0.5)
        changed = json.loads(role(world, "h", "change", str(flips), floor_netns).communicate(timeout=120)[0])
        world.put_raw({"globalnetworkpolicies/flip": policy(True).decode()})
        sent = json.loads(sender.communicate(timeout=10)[0])
        with world.socket("a", 4, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"end", (world.address("b", 4), PORT))
        arrived = json.loads(receiver.communicate(timeout=10)[0])
    finally:
        delete_netns(floor_netns)
        world.close()
    return {"latency": latencies(changed["puts"], arrived), "floor": changed["floor"],
            "probes_per_s": sent["count"] / sent["seconds"]}  # fmt: skip


def role(world: World, name: str, *arguments: str) -> subprocess.Popen[str]:
    command = [*world.enter(name), sys.executable, __file__, "--role", *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def latencies(puts: list[int], arrived: list[int]) -> list[float]:
    """Milliseconds from each put to the sending time of the first packet judged anew.

    Even flips deny: what follows the last packet that passed; odd flips allow: the first packet that passed.
    """
    found = []
    ends = [*puts[1:], arrived[-1] if arrived else 0]
    for flip, (put, end) in enumerate(zip(puts, ends, strict=True)):
        first, last = bisect.bisect_right(arrived, put), bisect.bisect_left(arrived, end)
        assert flip % 2 == 0 or first < last, f"flip {flip} was never seen"
        judged = arrived[first] if flip % 2 else max(put, arrived[last - 1]) + PERIOD_NS
        found.append((judged - put) / 1e6)
    return found


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer flips; below 30 s")
    parser.add_argument("--role", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    match options.role:
        case ["send", target]:
            send(target)
            return 0
        case ["receive"]:
            receive()
            return 0
        case ["change", flips, netns]:
            asyncio.run(change(int(flips), netns))
            return 0
    found = measure(120 if options.quick else 400)
    rows = {
        name: {"p50_ms": statistics.median(found[key]), "p99_ms": percentile(found[key], 0.99), "n": len(found[key])}
        for name, key in (("put to verdict", "latency"), ("floor: watch + raw transaction", "floor"))
    }
    ours, floor = rows.values()
    ratio = ours["p50_ms"] / floor["p50_ms"]
    goals = {
        f"ratio of medians <= {RATIO_GOAL:g}": ratio <= RATIO_GOAL,
        f"p50 <= {P50_GOAL_MS:g} ms": ours["p50_ms"] <= P50_GOAL_MS,
        "probes/s >= 2000": found["probes_per_s"] >= 2000,
    }
    for name, row in rows.items():
        print(f"{name:32} n={row['n']:4}  p50 {row['p50_ms']:7.2f} ms  p99 {row['p99_ms']:7.2f} ms")
    print(f"ratio of medians {ratio:.2f}, of p99 {ours['p99_ms'] / floor['p99_ms']:.2f}; "
          f"{found['probes_per_s']:.0f} probes/s")  # fmt: skip
    for goal, met in goals.items():
        print(f"  {'met   ' if met else 'MISSED'} {goal}")
    RESULTS.parent.mkdir(exist_ok=True)
    document = {"rows": rows, "ratio": ratio, "probes_per_s": found["probes_per_s"], "goals": goals,
                "machine": platform.platform(), "quick": options.quick}  # fmt: skip
    RESULTS.write_text(json.dumps(document, indent=2) + "\n")
    return 0 if all(goals.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
