"""How long a route takes from one host's kernel to another's, with our generated BIRD configuration.

``python bench/convergence.py [--quick]`` (about 40 s, or 10 s; needs root and BIRD). Peer: a minimal BIRD configuration
written by hand, running beside ours on hosts of its own, with the measurements interleaved; the figure to look at is
the ratio. A route is added (and removed) on host A by netlink as Felix does it, and the clock stops when the kernel of
host B announces the change. Results go to bench/results/convergence[-quick].json.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from calico.bgp.birdconf.render import render
from calico.bgp.planning.plan import build_plan
from calico.bgp.planning.snapshot import SnapshotStore
from calico.dataplane.links import Links
from calico.dataplane.netns import in_netns, temporary_netns
from calico.datastore.api import Update
from calico.lib import packed
from calico.netlink.rtnetlink.event import GROUP_ROUTE4, decode_event
from calico.netlink.rtnetlink.route import SCOPE_LINK, KernelRoute, NextHop, delete_route, new_route
from calico.netlink.socket import NetlinkSocket

RESULTS = Path(__file__).parent / "results"
FELIX_PROTOCOL, BIRD_PROTOCOL = 80, 12
POOL = "10.65.0.0/16"
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


def generated(directory: Path, me: int, other: int) -> str:
    """What the agent writes for host ``me`` of two with one pool."""
    resources = {
        f"nodes/n{me}": {"bgp": {"ipv4Address": f"10.0.0.{me}/24"}},
        f"nodes/n{other}": {"bgp": {"ipv4Address": f"10.0.0.{other}/24"}},
        "ippools/p": {"cidr": POOL},
    }
    store = SnapshotStore(f"n{me}")
    prefix = "/calico/resources/v3/projectcalico.org/"
    store.apply(Update(prefix + key, json.dumps({"spec": spec}).encode(), 1) for key, spec in resources.items())
    return render(build_plan(store.view(), f"n{me}").plan, str(directory / "bird.log"))


def plain(directory: Path, me: int, other: int) -> str:
    """What a person would write for the same two hosts."""
    return PLAIN.format(directory=directory, me=me, other=other)


class Pair:
    """Two hosts on a wire, each with a BIRD; ``add`` and ``remove`` on the first are observed on the second."""

    def __init__(self, stack: ExitStack, name: str, configure: Callable[[Path, int, int], str]) -> None:
        prefix = f"cbb{os.getpid() % 100000}{name}"
        self.hosts = [stack.enter_context(temporary_netns(f"{prefix}{number}")) for number in (1, 2)]
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cbb")))
        with Links(self.hosts[0]) as first, Links(self.hosts[1]) as second:
            mac = bytes.fromhex("020000000000")
            first.create_veth("eth0", "eth0", peer_netns=self.hosts[1], mac=mac[:5] + b"\1", peer_mac=mac[:5] + b"\2")
            first.create_veth("cali1", "w1", peer_netns="", mac=mac[:5] + b"\3", peer_mac=mac[:5] + b"\4")
            for links, number in ((first, 1), (second, 2)):
                links.set_up("lo")
                links.set_up("eth0")
                links.add_address("eth0", f"10.0.0.{number}/24")
            first.set_up("w1")
            first.set_up("cali1")
            self._out = first.index("cali1")
        for number, host in enumerate(self.hosts, 1):
            stack.enter_context(running_bird(host, directory / str(number), configure, number, 3 - number))
        self._kernel = stack.enter_context(in_netns(self.hosts[0], lambda: NetlinkSocket(0)))
        self._events = stack.enter_context(
            in_netns(self.hosts[1], lambda: NetlinkSocket(0, groups=(GROUP_ROUTE4,), rcvbuf=32 << 20))
        )

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


@contextmanager
def running_bird(
    netns: str, directory: Path, configure: Callable[[Path, int, int], str], me: int, other: int
) -> Iterator[None]:
    directory.mkdir()
    conf = directory / "bird.conf"
    conf.write_text(configure(directory, me, other))
    command = ["nsenter", f"--net=/run/netns/{netns}", "bird", "-f", "-c", str(conf), "-s", str(directory / "ctl")]
    bird = subprocess.Popen(command)
    try:
        yield
    finally:
        bird.kill()
        bird.wait()


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
    for _ in range(bursts):
        for what, gone in (("add", False), ("remove", True)):
            for name, pair in pairs.items():
                bulk[name][what].append(pair.change(many, gone=gone))
                time.sleep(0.3)
    results: dict[str, Any] = {"rounds": rounds, "burst": burst, "bursts": bursts}
    for what in ("add", "remove"):
        entry: dict[str, Any] = {name: figures(single[name][what]) for name in pairs}
        entry["ratio_p50"] = round(entry["generated"]["p50_ms"] / entry["plain"]["p50_ms"], 2)
        entry["ratio_p99"] = round(entry["generated"]["p99_ms"] / entry["plain"]["p99_ms"], 2)
        results[what] = entry
        medians = {name: statistics.median(bulk[name][what]) for name in pairs}
        results[f"burst_{what}"] = {
            **{f"{name}_s": round(value, 3) for name, value in medians.items()},
            **{f"{name}_max_s": round(max(bulk[name][what]), 3) for name in pairs},
            "ratio": round(medians["generated"] / medians["plain"], 2),
        }
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    quick = parser.parse_args().quick
    with ExitStack() as stack:
        pairs = {"generated": Pair(stack, "g", generated), "plain": Pair(stack, "p", plain)}
        for pair in pairs.values():  # until the first route has crossed, sessions are coming up
            pair.change(["10.65.255.1"], gone=False)
            pair.change(["10.65.255.1"], gone=True)
        results = measure(pairs, 80 if quick else 500, 1000 if quick else 10_000, 2 if quick else 3)
    print(json.dumps(results, indent=2))
    RESULTS.mkdir(exist_ok=True)
    name = "convergence-quick.json" if quick else "convergence.json"
    (RESULTS / name).write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
