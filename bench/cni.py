"""How fast containers are attached: ADD and DEL against Debian's bridge and ptp with host-local, in the same run.

``python bench/cni.py [--quick] [--only PART]`` makes a host in a namespace with etcd, Felix and the daemon, and calls
each plugin's executable as a runtime does. Ours allocates in etcd and waits for the policy to be in the kernel; the
others do neither. Milliseconds, and ratios to bridge. The parts:

* ``turns``: one call after another; who is measured takes turns;
* ``parallel``: 16 and 200 callers at once, twice in opposite order;
* ``reply``: 10 containers start each second, with 100 policies: from the end of ADD to the first answer of a server;
* ``density``: up to 1,000 containers that stay: time of an ADD, memory of each process for each container.

Needs root and containernetworking-plugins.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "functional" / "cni"))
from cni_world import Container, World, until

from calico.dataplane.netns import enter_netns, in_netns, open_netns

HOST_LOCAL = {"type": "host-local", "ranges": [[{"subnet": "10.79.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}
DEBIAN = Path("/usr/lib/cni")
Network = tuple[Path, dict[str, Any]]
PORT = 7
POLICIES = 100
PER_SECOND = 10
PARTS = ("turns", "parallel", "reply", "density")


def networks(world: World) -> dict[str, Network]:
    def local(name: str) -> dict[str, Any]:
        return {**HOST_LOCAL, "dataDir": str(world.directory / f"ipam-{name}")}

    own = {"type": "calico", "ipam": {"type": "calico-ipam"}}
    return {
        "bridge": (
            DEBIAN / "bridge",
            {"type": "bridge", "bridge": "bench0", "ipam": local("bridge")},
        ),
        "ptp": (DEBIAN / "ptp", {"type": "ptp", "ipam": local("ptp")}),
        "calico": (world.bin_dir / "calico", own),
        "calico, no wait": (world.bin_dir / "calico", {**own, "policy_setup_timeout_seconds": 0}),
    }


def call(container: Container, command: str, network: Network) -> tuple[float, str]:
    """Milliseconds from the start of the plugin to its end, and the address of an ADD."""
    executable, config = network
    document = json.dumps({"cniVersion": "1.0.0", "name": "bench", **config}).encode()
    environment = {
        "PATH": os.environ["PATH"],
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container.identity,
        "CNI_NETNS": container.path,
        "CNI_IFNAME": "eth0",
        "CNI_PATH": f"{executable.parent}:{DEBIAN}",
    }
    began = time.monotonic()
    done = subprocess.run([str(executable)], input=document, capture_output=True, check=False, env=environment)
    took = (time.monotonic() - began) * 1000
    if done.returncode:
        raise SystemExit(f"{executable} {command}: {done.stdout.decode()}{done.stderr.decode()}")
    address = json.loads(done.stdout)["ips"][0]["address"].partition("/")[0] if command == "ADD" else ""
    return took, address


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


# ---- one call after another


def turns(world: World, quick: bool) -> None:
    """All take turns, so that what else the machine does meets all alike."""
    took: dict[str, dict[str, list[float]]] = {name: {"ADD": [], "DEL": []} for name in networks(world)}
    for round_number in range((20 if quick else 100) + 2):
        for name, network in networks(world).items():
            container = world.container()
            add, _ = call(container, "ADD", network)
            delete, _ = call(container, "DEL", network)
            world.end_container(container)
            if round_number >= 2:
                took[name]["ADD"].append(add)
                took[name]["DEL"].append(delete)
    print(f"one after another {'':4}{'p50':>8}{'p95':>8}{'/bridge':>9}{'p95/bridge':>12}")
    for command in ("ADD", "DEL"):
        peer = took["bridge"][command]
        for name, by_command in took.items():
            values = by_command[command]
            middle, late = statistics.median(values), percentile(values, 0.95)
            ratios = f"{middle / statistics.median(peer):9.2f}{late / percentile(peer, 0.95):12.2f}"
            print(f"  {command} {name:16}{middle:8.1f}{late:8.1f}{ratios}")


# ---- many at once


def parallel(world: World, quick: bool) -> None:
    """Milliseconds a container from the first caller's start to the last one's end, and of all processors' work for it
    (plugins, daemon, Felix, etcd), which counts when others use the machine; there and back, so that the order counts
    for nothing."""
    for callers in (16, 200):
        count = max(callers, 64 if quick else 200)
        took: dict[str, dict[str, float]] = {name: {"ADD": 0.0, "DEL": 0.0} for name in networks(world)}
        work: dict[str, dict[str, float]] = {name: {"ADD": 0.0, "DEL": 0.0} for name in networks(world)}
        names = list(took)
        for name in (*names, *reversed(names)):
            containers = [world.container() for _ in range(count)]
            for command in ("ADD", "DEL"):
                before = work_ms(world)
                took[name][command] += at_once(containers, command, networks(world)[name], callers) / 2
                work[name][command] += (work_ms(world) - before) / count / 2
            for container in containers:
                world.end_container(container)
        print(f"{count} containers, {callers} callers at once, ms a container")
        print(f"{'':20}" + "".join(f"{what:>12} /bridge" for what in ("ADD", "its work", "DEL", "its work")))
        for name in took:
            pairs = [(table[name][c], table["bridge"][c]) for c in ("ADD", "DEL") for table in (took, work)]
            print(f"  {name:18}" + "".join(f"{value:12.1f}{value / peer:8.2f}" for value, peer in pairs))


def work_ms(world: World) -> float:
    """What the processors have done until now: for plugins that ended, and for the daemons."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    ticks = sum(
        sum(map(int, Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
        for process in world.processes.values()
    )
    return (ended.ru_utime + ended.ru_stime) * 1000 + ticks * 1000 / os.sysconf("SC_CLK_TCK")


def at_once(containers: Iterable[Container], command: str, network: Network, callers: int) -> float:
    waiting = list(containers)
    count = len(waiting)

    def work() -> None:
        with suppress(IndexError):
            while True:
                call(waiting.pop(), command, network)

    threads = [threading.Thread(target=work) for _ in range(callers)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.monotonic() - began) * 1000 / count


# ---- the first answer


def reply(world: World, quick: bool) -> None:
    """A container's first question is asked when its ADD has ended, and again each millisecond until it is answered."""
    spec = {"selector": "has(bench)", "types": ["Ingress", "Egress"], "egress": [{"action": "Allow"}]}
    for number in range(POLICIES):
        port = PORT if number == POLICIES - 1 else 1000 + number
        rule = {"action": "Allow", "protocol": "UDP", "destination": {"ports": [port]}}
        world.put("GlobalNetworkPolicy", "globalnetworkpolicies", f"p{number:03}",
                  {**spec, "order": number, "ingress": [rule]})  # fmt: skip
    print(f"{'first answer after ADD':24}{'p50':>8}{'p95':>8}{'p99':>8}   ms, {PER_SECOND}/s, {POLICIES} policies")
    for name in ("bridge", "ptp", "calico"):
        network = networks(world)[name]
        server = world.container()
        _, address = call(server, "ADD", network)
        with Echo(server):
            took = [first_answer(world, network, address) for _ in range(50 if quick else 300)]
        call(server, "DEL", network)
        world.end_container(server)
        values = [percentile(took, share) for share in (0.5, 0.95, 0.99)]
        print(f"  {name:22}{''.join(f'{value:8.1f}' for value in values)}")
    world.etcdctl("del", "--prefix", "/calico/resources/v3/projectcalico.org/globalnetworkpolicies/")


class Echo:
    """Answers datagrams in a container while the block lasts."""

    def __init__(self, container: Container) -> None:
        self._sock = in_netns(container.netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._sock.bind(("0.0.0.0", PORT))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                data, sender = self._sock.recvfrom(100)
                self._sock.sendto(data, sender)


def first_answer(world: World, network: Network, server: str) -> float:
    began = time.monotonic()
    container = world.container()
    with in_netns(container.netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.settimeout(0.001)
        call(container, "ADD", network)
        started = time.monotonic()
        while True:
            with suppress(OSError):
                sock.sendto(b"?", (server, PORT))
                sock.recv(100)
                break
            if time.monotonic() - started > 10:
                raise SystemExit("a container had no answer within 10 s")
        took = (time.monotonic() - started) * 1000
    call(container, "DEL", network)
    world.end_container(container)
    time.sleep(max(0.0, 1 / PER_SECOND - (time.monotonic() - began)))
    return took


# ---- how many


def density(world: World, quick: bool) -> None:
    """Containers that stay: what one more costs when there are so many already."""
    steps = (1, 100, 200) if quick else (1, 100, 250, 500, 1000)
    network, peer = networks(world)["calico"], networks(world)["ptp"]
    attached: list[Container] = []
    peers: list[Container] = []
    print(f"{'containers':>10}{'ADD p50':>9}{'/ptp':>7}{'felix':>9}{'daemon':>9}{'etcd':>9}   MiB;  KiB for each")
    first: dict[str, float] = {}
    for step in steps:
        adds: list[float] = []
        others: list[float] = []
        while len(attached) < step:
            attached.append(world.container())
            adds.append(call(attached[-1], "ADD", network)[0])
            if step - len(attached) < 20:  # as many of the peer would double the host
                peers.append(world.container())
                others.append(call(peers[-1], "ADD", peer)[0])
        recent = adds[-20:]
        until(lambda: set(world.status["endpoints"].values()) == {"up"}, "all are up")
        memory = {name: resident_mib(world.processes[name].pid) for name in ("felix", "daemon", "etcd")}
        first = first or memory
        each = " ".join(f"{name} {(memory[name] - first[name]) * 1024 / step:.1f}" for name in memory)
        columns = "".join(f"{value:9.1f}" for value in memory.values())
        ratio = statistics.median(recent) / statistics.median(others)
        print(f"{step:10}{statistics.median(recent):9.1f}{ratio:7.2f}{columns}         {each}", flush=True)
    began = time.monotonic()
    for container in attached:
        call(container, "DEL", network)
        world.end_container(container)
    print(f"  DEL of all: {(time.monotonic() - began) * 1000 / len(attached):.1f} ms each; "
          f"left: {world.allocated} addresses, {len(world.endpoints)} endpoints")  # fmt: skip
    for container in peers:
        call(container, "DEL", peer)
        world.end_container(container)


def resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"process {pid} has no memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer of everything")
    parser.add_argument("--only", choices=PARTS, action="append", help="one part; may be given again")
    options = parser.parse_args()
    if not (DEBIAN / "bridge").exists():
        raise SystemExit("needs Debian's package containernetworking-plugins")
    world = World()
    try:
        world.start_etcd()
        world.cluster()
        world.put("IPPool", "ippools", "v4", {"cidr": "10.77.0.0/16", "blockSize": 26})
        world.start_felix()
        world.install()
        world.start_daemon()
        enter_netns(open_netns(world.host))  # plugins are started from the host's namespace, as by its runtime
        parts: dict[str, Callable[[World, bool], None]] = {
            "turns": turns, "parallel": parallel, "reply": reply, "density": density,
        }  # fmt: skip
        for name in options.only or PARTS:
            parts[name](world, options.quick)
    finally:
        world.close()


if __name__ == "__main__":
    main()
