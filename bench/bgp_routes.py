"""How long a route takes from one host's kernel to another's, with our agents and with BIRD configured by hand.

``python bench/bgp_routes.py [--quick]`` (about 40 s, or 10 s; needs root, BIRD and etcd). On one pair of hosts our real
agents run with a real etcd, on another pair BIRDs with a minimal configuration written by hand; measurements take
turns, and the ratio is what counts. A route is added (and removed) on the first host by netlink as Felix does it, and
the clock stops when the kernel of the second announces the change. Results go to bench/results/bgp-routes[-quick].json.
"""

from __future__ import annotations

import argparse
import select
import statistics
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from _bgp import Goal, Wire, agent, established, etcd, memory_mb, plain_bird, publish, put, until, workshop
from calico.dataplane.links import Links
from calico.dataplane.netns import in_netns
from calico.lib import packed
from calico.netlink.rtnetlink.event import GROUP_ROUTE4, decode_event
from calico.netlink.rtnetlink.route import SCOPE_LINK, KernelRoute, NextHop, delete_route, new_route
from calico.netlink.socket import NetlinkSocket

FELIX_PROTOCOL, BIRD_PROTOCOL = 80, 12
PLAIN = """\
log "{directory}/bird.log" {{ warning, error, fatal, bug }};
router id 10.0.0.{me};
protocol device {{ scan time 10; }}
protocol direct {{ ipv4; interface "eth0"; }}
protocol kernel {{ learn; scan time 2; ipv4 {{ import all; export where source = RTS_BGP; }}; }}
protocol bgp peer {{
  local 10.0.0.{me} as 64512; neighbor 10.0.0.{other} as 64512; direct; connect delay time 1; connect retry time 1;
  ipv4 {{ import all; export where net ~ 10.65.0.0/16; }};
}}
"""


class Pair:
    """Two hosts with BIRD; ``change`` on the first is observed on the second. ``pids`` by what runs there."""

    def __init__(self, stack: ExitStack, directory: Path, name: str) -> None:
        self.wire = Wire(stack, directory, name)
        self.pids: dict[str, int] = {}
        with Links(self.wire.hosts[0]) as first:
            mac = bytes.fromhex("020000000000")
            first.create_veth("cali1", "w1", peer_netns="", mac=mac[:5] + b"\3", peer_mac=mac[:5] + b"\4")
            first.set_up("w1")
            first.set_up("cali1")
            self._out = first.index("cali1")
        self._kernel = stack.enter_context(in_netns(self.wire.hosts[0], lambda: NetlinkSocket(0)))
        self._events = stack.enter_context(
            in_netns(self.wire.hosts[1], lambda: NetlinkSocket(0, groups=(GROUP_ROUTE4,), rcvbuf=32 << 20))
        )

    def run_plain(self, stack: ExitStack) -> None:
        """BIRD as a person would set it up."""
        for number, host in enumerate(self.wire.hosts, 1):
            directory = self.wire.directory / str(number)
            text = PLAIN.format(directory=directory, me=number, other=3 - number)
            self.pids["bird"] = plain_bird(stack, host, directory, text)

    def run_ours(self, stack: ExitStack) -> None:
        """Our agents, with a mesh of the two hosts and one pool."""
        url = etcd(stack, self.wire.hosts[0], "10.0.0.1", self.wire.directory)
        nodes = {f"nodes/n{number}": {"bgp": {"ipv4Address": f"10.0.0.{number}/24"}} for number in (1, 2)}
        put(self.wire.hosts[0], url, {**nodes, "ippools/p": {"cidr": "10.65.0.0/16"}})
        for number, host in enumerate(self.wire.hosts, 1):
            directory = self.wire.directory / str(number)
            self.pids["agent"] = agent(stack, host, f"n{number}", url, directory).pid
            until(lambda directory=directory: (directory / "bird.pid").exists(), "BIRD runs")
            self.pids["bird"] = int(until((directory / "bird.pid").read_text, "BIRD runs"))

    def wait(self) -> None:
        """Until the session is up."""
        until(lambda: established(self.wire.directory / "2") == 1, "the session is up")

    def route(self, address: str) -> KernelRoute:
        net = packed.net_of_host(packed.addr_bytes(address))
        hop = (NextHop(oif=self._out),)
        return KernelRoute(dst=net, hops=hop, protocol=FELIX_PROTOCOL, scope=SCOPE_LINK)

    def change(self, addresses: list[str], *, gone: bool) -> float:
        """Add or remove routes on the first host; seconds until all have changed on the second."""
        build = delete_route if gone else new_route
        routes = [self.route(address) for address in addresses]
        requests = [build(self._kernel.next_seq(), route) for route in routes]
        waiting = {route.dst for route in routes}
        began = time.perf_counter()
        failures = self._kernel.transact(requests)
        if failures:
            raise SystemExit(f"the kernel refused: {failures[0]}")
        while waiting:
            ready, _, _ = select.select([self._events], [], [], 20)
            if not ready:
                raise SystemExit(f"{len(waiting)} routes never arrived")
            for message in self._events.drain():
                event = decode_event(message)
                if event is None or event.gone != gone or not isinstance(event.subject, KernelRoute):
                    continue
                if event.subject.protocol == BIRD_PROTOCOL:
                    waiting.discard(event.subject.dst)
        return time.perf_counter() - began


def figures(samples: list[float]) -> dict[str, float]:
    """Milliseconds."""
    cuts = statistics.quantiles(samples, n=100, method="inclusive")
    return {
        "p50_ms": round(cuts[49] * 1e3, 3),
        "p99_ms": round(cuts[98] * 1e3, 3),
        "max_ms": round(max(samples) * 1e3, 3),
    }


def measure(pairs: dict[str, Pair], rounds: int, burst: int, bursts: int) -> dict[str, Any]:
    single: dict[str, dict[str, list[float]]] = {name: {"add": [], "remove": []} for name in pairs}
    for number in range(rounds):
        address = f"10.65.{number // 250}.{number % 250 + 1}"
        for what, gone in (("add", False), ("remove", True)):
            for name, pair in pairs.items():
                single[name][what].append(pair.change([address], gone=gone))
                time.sleep(0.005)
    many = [f"10.65.{n // 250}.{n % 250 + 1}" for n in range(burst)]
    bulk: dict[str, dict[str, list[float]]] = {name: {"add": [], "remove": []} for name in pairs}
    memory: dict[str, dict[str, float]] = {}
    for _ in range(bursts):
        for what, gone in (("add", False), ("remove", True)):
            for name, pair in pairs.items():
                bulk[name][what].append(pair.change(many, gone=gone))
                time.sleep(0.3)
            if not gone:
                memory = {name: {of: memory_mb(pid) for of, pid in pair.pids.items()} for name, pair in pairs.items()}
    results: dict[str, Any] = {"rounds": rounds, "burst": burst, "bursts": bursts, "memory_mb": memory}
    for what in ("add", "remove"):
        entry: dict[str, Any] = {name: figures(single[name][what]) for name in pairs}
        entry["ratio_p50"] = round(entry["ours"]["p50_ms"] / entry["plain"]["p50_ms"], 2)
        entry["ratio_p99"] = round(entry["ours"]["p99_ms"] / entry["plain"]["p99_ms"], 2)
        results[what] = entry
        medians = {name: statistics.median(bulk[name][what]) for name in pairs}
        results[f"burst_{what}"] = {
            **{f"{name}_s": round(value, 3) for name, value in medians.items()},
            **{f"{name}_max_s": round(max(bulk[name][what]), 3) for name in pairs},
            "ratio": round(medians["ours"] / medians["plain"], 2),
        }
    return results


def show(results: dict[str, Any]) -> None:
    print(
        f"one route, {results['rounds']} times (ms)    ours p50   p99   max    plain p50   p99   max    ratio p50   p99"
    )
    for what in ("add", "remove"):
        ours, plain = results[what]["ours"].values(), results[what]["plain"].values()
        cells = "".join(f"{value:8.3f}" for value in (*ours, *plain))
        print(f"  {what:24} {cells}    {results[what]['ratio_p50']:6.2f} {results[what]['ratio_p99']:6.2f}")
    print(f"{results['burst']} routes, median of {results['bursts']} (s)")
    for what in ("add", "remove"):
        found = results[f"burst_{what}"]
        print(f"  {what:24} ours {found['ours_s']:.2f} plain {found['plain_s']:.2f} ratio {found['ratio']:.2f}")
    print(f"memory with {results['burst']} routes (MB, PSS of the second host): {results['memory_mb']}")


def goals_of(results: dict[str, Any]) -> list[Goal]:
    """Point 8 of the plan: ten thousand routes cross in 2 s; one crosses in 10 ms, and the agent adds a tenth."""
    add = results["add"]
    goals = [
        Goal("add: median ms", add["ours"]["p50_ms"], 10),
        Goal("add: p99 ms", add["ours"]["p99_ms"], 100),
        Goal("add: median against plain", add["ratio_p50"], 1.1),
        Goal("remove: median against plain", results["remove"]["ratio_p50"], 1.1),
    ]
    for what in ("add", "remove"):
        goals.append(Goal(f"{results['burst']} routes, {what}: s", results[f"burst_{what}"]["ours_max_s"], 2))
    return goals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    quick = parser.parse_args().quick
    with workshop() as (stack, directory):
        pairs = {name: Pair(stack, directory, name) for name in ("ours", "plain")}
        pairs["ours"].run_ours(stack)
        pairs["plain"].run_plain(stack)
        for pair in pairs.values():
            pair.wait()
            pair.change(["10.65.255.1"], gone=False)
            pair.change(["10.65.255.1"], gone=True)
        results = measure(pairs, 80 if quick else 500, 1000 if quick else 10_000, 2 if quick else 3)
    show(results)
    publish("bgp-routes-quick" if quick else "bgp-routes", results, goals_of(results))


if __name__ == "__main__":
    main()
