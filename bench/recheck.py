"""What a pass over the established flows costs, against a bare dump of the same table.

In a fresh network namespace a host has tracked flows of an endpoint. A pass is made in five situations: ``skipped``
concerns many addresses but none of the flows; ``picked`` one address that has no flow; ``known`` all flows, which
differ by source port; ``new`` all flows, which differ by destination port; ``cut`` the same, now forbidden. Dump and
pass take turns; only ratios within one run mean anything. Writes bench/results/recheck.json.

    python bench/recheck.py [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from calico.calc.messages import ActiveRule, EndpointId, EndpointUpdate, ProfileUpdate
from calico.dataplane.flows.recheck import FlowPass
from calico.dataplane.flows.tombstones import Tombstones
from calico.dataplane.flows.tracked import FlowTable
from calico.dataplane.flows.ways import Ways
from calico.dataplane.netns import in_netns, temporary_netns
from calico.lib.packed import addr_bytes
from calico.model.keys import ResourceKey
from calico.rules.affected import Affected
from calico.rules.config import RulesConfig
from calico.rules.ended import EndedFlows
from calico.rules.evaluator.judge import Judge
from calico.rules.ruleset import Ruleset
from calico.rules.table import TableState

RESULTS = Path(__file__).resolve().parent / "results" / "recheck.json"
TRACK = "table inet t { chain out { type filter hook output priority 0; ct state new accept; }\n }"
OWN, OTHER = addr_bytes("10.99.1.1"), addr_bytes("10.99.2.1")
PORTS = 60000
GOALS = {"skipped": 3.0, "picked": 1.5, "known": 15.0}
"""The most that a pass may take as a multiple of the bare dump."""


def track(count: int, *, by_source_port: bool) -> None:
    """Flows of the endpoint to the host, by datagrams over the loopback interface."""
    for number in range(count):
        if number % PORTS == 0:
            source = bytes((10, 99, 1, 1 + number // PORTS))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            port = 1 + number % PORTS
            sock.bind((socket.inet_ntoa(source), 1000 + port % PORTS if by_source_port else 999))
            sock.sendto(b"x", (socket.inet_ntoa(OTHER), 9 if by_source_port else port))


class Host:
    """The ruleset (never in the kernel) and what a pass needs."""

    def __init__(self) -> None:
        self.state = TableState()
        self.ruleset = Ruleset(self.state, RulesConfig(endpoint_to_host="accept"))
        self.table = FlowTable()
        self.ways = Ways(lambda address: "cali1" if address[:3] == OWN[:3] else None)
        self.judge = Judge(self.state)
        nets = tuple(bytes((10, 99, 1, n, 32)) for n in range(1, 9))
        key = ResourceKey("WorkloadEndpoint", "ns", "w")
        self.allow(True)
        self.ruleset.on_message(
            EndpointUpdate(id=EndpointId("k8s", "ns/w", "eth0"), key=key, interface="cali1", nets=nets, profiles=("x",))
        )

    def allow(self, allowed: bool) -> None:
        rules = (ActiveRule(action="allow" if allowed else "deny"),)
        self.ruleset.on_message(ProfileUpdate(name="x", ingress=rules, egress=rules))

    def dump(self) -> tuple[float, int]:
        started = time.perf_counter()
        count = sum(1 for _ in self.table.read())
        return (time.perf_counter() - started) * 1000, count

    def recheck(self, affected: Affected) -> tuple[float, Any]:
        """A pass with nothing remembered."""
        self.judge.forget()
        tombstones = Tombstones(EndedFlows(self.state), lambda: None)
        work = FlowPass(affected, self.table, self.ways, self.judge, tombstones, _at_once, lambda cut: None)
        started = time.perf_counter()
        asyncio.run(work.run())
        return (time.perf_counter() - started) * 1000, work.figures

    def close(self) -> None:
        self.table.close()
        self.ways.close()


async def _at_once() -> None:
    return


def affected_of(*addresses: bytes) -> Affected:
    affected = Affected()
    affected.add("egress", addresses)
    return affected


def measure(count: int, rounds: int, *, by_source_port: bool) -> dict[str, dict[str, float]]:
    with temporary_netns(f"bench-recheck-{count}-{int(by_source_port)}") as name:
        for command in (
            ["ip", "link", "set", "lo", "up"],
            ["ip", "route", "add", "local", "10.99.0.0/16", "dev", "lo"],
        ):
            subprocess.run(["nsenter", f"--net=/run/netns/{name}", *command], check=True)
        subprocess.run(["nsenter", f"--net=/run/netns/{name}", "nft", "-f", "-"], input=TRACK, text=True, check=True)
        return in_netns(name, lambda: _measure(count, rounds, by_source_port))


def _measure(count: int, rounds: int, by_source_port: bool) -> dict[str, dict[str, float]]:
    track(count, by_source_port=by_source_port)
    host = Host()
    own = affected_of(*(bytes((10, 99, 1, n)) for n in range(1, 9)))
    strangers = affected_of(*(bytes((10, 98, n >> 8, n & 255)) for n in range(2000)))
    cases = {"known" if by_source_port else "new": own}
    if by_source_port:
        cases |= {"skipped": strangers, "picked": affected_of(bytes((10, 98, 0, 0)))}
    found: dict[str, list[tuple[float, float]]] = {}
    try:
        for _ in range(rounds):
            for case, affected in cases.items():
                bare, tracked = host.dump()
                assert tracked >= 0.99 * count, f"{tracked} of {count} flows are tracked"
                took, figures = host.recheck(affected)
                assert figures.examined == (tracked if affected is own else 0), figures
                found.setdefault(case, []).append((took, bare))
        if not by_source_port:
            host.allow(False)
            bare, tracked = host.dump()
            took, figures = host.recheck(own)
            assert figures.cut == tracked, figures
            found["cut"] = [(took, bare)]
    finally:
        host.close()
    return {
        case: {
            "pass_ms": statistics.median(took for took, _ in pairs),
            "dump_ms": statistics.median(bare for _, bare in pairs),
            "ratio": statistics.median(took / bare for took, bare in pairs),
        }
        for case, pairs in found.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer flows and rounds; below 30 s")
    options = parser.parse_args()
    sizes, rounds = ((1000, 5000), 3) if options.quick else ((1000, 10000, 100000, 200000), 5)
    rows: dict[str, dict[str, float]] = {}
    for count in sizes:
        for by_source_port in (True, False):
            found = measure(count, rounds, by_source_port=by_source_port)
            for case, row in found.items():
                rows[f"{case} {count}"] = row
                print(f"{case:8} {count:7} flows  pass {row['pass_ms']:9.1f} ms  dump {row['dump_ms']:8.1f} ms  "
                      f"ratio {row['ratio']:6.2f}  {row['pass_ms'] / count * 1000:6.1f} us/flow")  # fmt: skip
    largest = sizes[-1]
    goals = {f"{case} <= {most:g} dumps": rows[f"{case} {largest}"]["ratio"] <= most for case, most in GOALS.items()}
    for goal, met in goals.items():
        print(f"  {'met   ' if met else 'MISSED'} {goal}")
    RESULTS.parent.mkdir(exist_ok=True)
    document = {"rows": rows, "goals": goals, "machine": platform.platform(), "quick": options.quick}
    RESULTS.write_text(json.dumps(document, indent=2) + "\n")
    return 0 if all(goals.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
