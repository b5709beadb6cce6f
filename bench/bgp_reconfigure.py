"""How soon BIRD runs what the datastore says, on a host with 200 established sessions.

``python bench/bgp_reconfigure.py [--quick]`` (about 60 s, or 15 s; needs root, BIRD and etcd). Our real agent with a
real etcd has 200 BGPPeers that share a BGPFilter; another host has a BIRD with 200 peers and a filter written by hand.
Changes take turns: the filter, a peer that comes, a peer that goes. The clock starts with the write to etcd (for the
plain BIRD: of the file) and stops when BIRD's log says that it is reconfigured; "confirmed" is when our agent has found
all sessions in order and keeps the change. Results go to bench/results/bgp-reconfigure[-quick].json.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import statistics
import struct
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from _bgp import Goal, Wire, agent, established, etcd, memory_mb, op, plain_bird, publish, put, until, workshop
from calico.bgp.bird.client import ControlClient
from calico.dataplane.links import Links
from calico.dataplane.netns import in_netns
from calico.datastore.etcd.backend import EtcdBackend

PEERS = 200
CAPABILITIES = bytes.fromhex("02 06 01 04 00 01 00 01  02 02 02 00")  # IPv4, route refresh (RFC 5492, 4760, 2918)
KINDS = ("filter", "peer comes", "peer goes")
HEAD = """\
log "{directory}/bird.log" {{ info, warning, error, fatal, bug }};
router id {router};
protocol device {{ scan time 10; }}
"""
PEER = """\
protocol bgp p{number} {{
  local {local} as {local_as}; neighbor {remote} as {remote_as}; multihop; connect delay time 1; connect retry time 1;
  ipv4 {{ import {accepts}; export none; }};
}}
"""
FILTER = "filter f {{ if net ~ 10.{number}.0.0/16 then reject; accept; }}\n"


def address(number: int) -> str:
    return f"10.0.{1 + number // 200}.{1 + number % 200}"


def far_end(stack: ExitStack, wire: Wire) -> None:
    """All the peers of the wire's first host: they take its calls and are silent ever after."""
    with Links(wire.hosts[1]) as links:
        for number in range(PEERS):
            links.add_address("eth0", f"{address(number)}/16")
    listening = stack.enter_context(in_netns(wire.hosts[1], lambda: socket.create_server(("", 179), backlog=PEERS)))
    threading.Thread(target=_accept, args=(listening, stack), daemon=True).start()


def _accept(listening: socket.socket, stack: ExitStack) -> None:
    """To each caller OPEN (RFC 4271 4.2) with AS 65000 and hold time 0, and KEEPALIVE."""
    with suppress(OSError):
        while True:
            session, _ = listening.accept()
            stack.callback(session.close)
            identifier = socket.inet_aton(session.getsockname()[0])
            body = struct.pack("!BHH4sB", 4, 65000, 0, identifier, len(CAPABILITIES)) + CAPABILITIES
            session.sendall(b"\xff" * 16 + struct.pack("!HB", 19 + len(body), 1) + body)
            session.sendall(b"\xff" * 16 + struct.pack("!HB", 19, 4))


class Tail:
    """What is added to a log, by polling: a millisecond is little against what is measured."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = path.stat().st_size

    def wait(self, text: str) -> float:
        """The moment when ``text`` appears."""
        end = time.perf_counter() + 30
        while time.perf_counter() < end:
            with open(self._path, "rb") as file:
                file.seek(self._position)
                if text.encode() in file.read():
                    return time.perf_counter()
            time.sleep(0.001)
        raise SystemExit(f"{self._path} never said {text!r}")


class Ours:
    """The agent on one host: changes are writes to etcd."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self._wire = Wire(stack, directory, "ours", length=16)
        far_end(stack, self._wire)
        host = self._wire.hosts[0]
        url = etcd(stack, host, "127.0.0.1", self._wire.directory)
        self.directory = self._wire.directory / "run"
        resources: dict[str, dict[str, Any]] = {
            "bgpconfigurations/default": {"nodeToNodeMeshEnabled": False},
            "nodes/n1": {"bgp": {"ipv4Address": "10.0.0.1/16"}},
            "bgpfilters/f": self._filter(1),
            **{f"bgppeers/p{number}": self._peer(number) for number in range(PEERS)},
        }
        put(host, url, resources)
        self._agent = agent(stack, host, "n1", url, self.directory).pid
        self._backend = in_netns(host, lambda: EtcdBackend((url,)))
        self._loop = asyncio.new_event_loop()
        in_netns(host, lambda: self._write("bgpfilters/f", self._filter(1)))  # its connection is there from now on
        stack.callback(lambda: self._loop.run_until_complete(self._backend.close()))

    @staticmethod
    def _filter(number: int) -> dict[str, Any]:
        return {"importV4": [{"action": "Reject", "cidr": f"10.{number}.0.0/16", "matchOperator": "In"}]}

    @staticmethod
    def _peer(number: int) -> dict[str, Any]:
        return {"peerIP": address(number), "asNumber": 65000, "filters": ["f"]}

    def _write(self, key: str, spec: dict[str, Any] | None) -> None:
        self._loop.run_until_complete(self._backend.txn([op(key, spec)]))

    def change(self, kind: str, turn: int) -> tuple[float, float]:
        """Seconds until BIRD is reconfigured, and until that is confirmed."""
        bird, told = Tail(self.directory / "bird.log"), Tail(self.directory.with_suffix(".out"))
        began = time.perf_counter()
        if kind == "filter":
            self._write("bgpfilters/f", self._filter(2 + turn % 200))
        else:
            self._write(f"bgppeers/p{PEERS}", self._peer(PEERS) if kind == "peer comes" else None)
        reconfigured = bird.wait("Reconfigured")
        return reconfigured - began, told.wait("configuration applied") - began

    def memory(self) -> dict[str, float]:
        return {"agent": memory_mb(self._agent), "bird": memory_mb(int((self.directory / "bird.pid").read_text()))}


class Plain:
    """A BIRD without an agent: changes are a new file and ``configure``."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self._wire = Wire(stack, directory, "plain", length=16)
        far_end(stack, self._wire)
        self.directory = self._wire.directory / "run"
        self._numbers, self._filter = list(range(PEERS)), 1
        self._pid = plain_bird(stack, self._wire.hosts[0], self.directory, self._text())

    def _text(self) -> str:
        peers = (
            PEER.format(number=n, local="10.0.0.1", local_as=64512, remote=address(n), remote_as=65000,
                        accepts="filter f")
            for n in self._numbers
        )  # fmt: skip
        head = HEAD.format(directory=self.directory, router="10.0.0.1") + FILTER.format(number=self._filter)
        return head + "".join(peers)

    def change(self, kind: str, turn: int) -> tuple[float, float]:
        """Seconds until BIRD is reconfigured; there is nobody who would verify it."""
        log = Tail(self.directory / "bird.log")
        began = time.perf_counter()
        if kind == "filter":
            self._filter = 2 + turn % 200
        else:
            self._numbers = list(range(PEERS + (kind == "peer comes")))
        (self.directory / "bird.conf").write_text(self._text())
        asyncio.run(ControlClient(self.directory / "bird.ctl").ask("configure"))
        took = log.wait("Reconfigured") - began
        return took, took

    def memory(self) -> dict[str, float]:
        return {"bird": memory_mb(self._pid)}


def figures(samples: list[float]) -> dict[str, float]:
    """Milliseconds."""
    cuts = statistics.quantiles(samples, n=20, method="inclusive")
    return {
        "p50_ms": round(cuts[9] * 1e3, 1),
        "p95_ms": round(cuts[18] * 1e3, 1),
        "max_ms": round(max(samples) * 1e3, 1),
    }


def measure(sides: dict[str, Ours | Plain], rounds: int) -> dict[str, Any]:
    changes: dict[str, list[tuple[float, float]]] = {f"{name} {kind}": [] for name in sides for kind in KINDS}
    for turn in range(rounds):
        for kind in KINDS:
            for name, side in sides.items():
                changes[f"{name} {kind}"].append(side.change(kind, turn))
                time.sleep(0.3)  # a change meets a host at rest
    results: dict[str, Any] = {"peers": PEERS, "rounds": rounds}
    for name in sides:
        for kind in KINDS:
            results[f"{name} {kind}"] = figures([took for took, _ in changes[f"{name} {kind}"]])
        results[f"{name} all"] = figures([took for kind in KINDS for took, _ in changes[f"{name} {kind}"]])
    results["ours confirmed"] = figures([whole for kind in KINDS for _, whole in changes[f"ours {kind}"]])
    for name, side in sides.items():
        results[f"{name} memory_mb"] = side.memory()
        results[f"{name} established"] = established(side.directory)
    return results


def show(results: dict[str, Any]) -> None:
    print(f"{PEERS} established sessions, {results['rounds']} times each (ms)    p50     p95     max")
    for what, found in results.items():
        if isinstance(found, dict) and "p50_ms" in found:
            print(f"  {what:44}" + "".join(f"{value:8.1f}" for value in found.values()))
    ratio = results["ours all"]["p50_ms"] / results["plain all"]["p50_ms"]
    print(f"  ratio of the medians {ratio:.1f}; memory (MB, PSS): ours {results['ours memory_mb']}", end="")
    print(f", plain {results['plain memory_mb']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    quick = parser.parse_args().quick
    makers: dict[str, Callable[[ExitStack, Path], Ours | Plain]] = {"ours": Ours, "plain": Plain}
    with workshop() as (stack, directory):
        sides = {name: make(stack, directory) for name, make in makers.items()}
        for name, side in sides.items():
            until(lambda side=side: established(side.directory) == PEERS, f"all sessions are up: {name}")
        results = measure(sides, 5 if quick else 25)
    show(results)
    goals = [
        Goal("reconfigured: p95 ms", results["ours all"]["p95_ms"], 250),
        Goal("sessions lost", 2 * PEERS - results["ours established"] - results["plain established"], 0),
    ]
    publish("bgp-reconfigure-quick" if quick else "bgp-reconfigure", results, goals)


if __name__ == "__main__":
    main()
