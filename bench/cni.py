"""How fast containers are attached: ADD and DEL against Debian's bridge and ptp with host-local, in the same run.

``python bench/cni.py [--quick]`` makes a host in a namespace with etcd, Felix and the daemon, and calls each plugin's
executable as a runtime does, one after another, then many at once. Ours allocates in etcd and waits for the policy to
be in the kernel; the others do neither. Milliseconds, and ratios to bridge. Needs root and containernetworking-plugins.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "functional" / "cni"))
from cni_world import Container, World

HOST_LOCAL = {"type": "host-local", "ranges": [[{"subnet": "10.79.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}
DEBIAN = Path("/usr/lib/cni")


def networks(world: World) -> dict[str, tuple[Path, dict[str, Any]]]:
    def local(name: str) -> dict[str, Any]:
        return {**HOST_LOCAL, "dataDir": str(world.directory / f"ipam-{name}")}

    return {
        "bridge": (DEBIAN / "bridge", {"type": "bridge", "bridge": "bench0", "ipam": local("bridge")}),
        "ptp": (DEBIAN / "ptp", {"type": "ptp", "ipam": local("ptp")}),
        "calico": (world.bin_dir / "calico", {"type": "calico", "ipam": {"type": "calico-ipam"}}),
        "calico, no wait": (
            world.bin_dir / "calico",
            {"type": "calico", "ipam": {"type": "calico-ipam"}, "policy_setup_timeout_seconds": 0},
        ),
    }


def call(container: Container, command: str, executable: Path, network: dict[str, Any]) -> float:
    """Milliseconds from the start of the plugin to its end."""
    document = json.dumps({"cniVersion": "1.0.0", "name": "bench", **network}).encode()
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
    return took


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def one_after_another(world: World, count: int) -> dict[str, dict[str, list[float]]]:
    """All take turns, so that what else the machine does meets all alike."""
    took: dict[str, dict[str, list[float]]] = {name: {"ADD": [], "DEL": []} for name in networks(world)}
    for round_number in range(count + 2):
        for name, (executable, network) in networks(world).items():
            container = world.container()
            add = call(container, "ADD", executable, network)
            delete = call(container, "DEL", executable, network)
            world.end_container(container)
            if round_number >= 2:
                took[name]["ADD"].append(add)
                took[name]["DEL"].append(delete)
    return took


def at_once(world: World, count: int, threads: int) -> dict[str, float]:
    """Milliseconds a container when many are attached by several callers at once."""
    found = {}
    for name, (executable, network) in networks(world).items():
        waiting = [world.container() for _ in range(count)]
        everyone = list(waiting)

        def work(
            waiting: list[Container] = waiting, executable: Path = executable, network: dict[str, Any] = network
        ) -> None:
            while True:
                try:
                    container = waiting.pop()
                except IndexError:
                    return
                call(container, "ADD", executable, network)

        began = time.monotonic()
        run_threads(work, threads)
        found[name] = (time.monotonic() - began) * 1000 / count
        for container in everyone:
            call(container, "DEL", executable, network)
            world.end_container(container)
    return found


def run_threads(work: Callable[[], None], number: int) -> None:
    running = [threading.Thread(target=work) for _ in range(number)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--count", type=int, default=0)
    options = parser.parse_args()
    count = options.count or (20 if options.quick else 100)
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
        enter(world.host)
        report(one_after_another(world, count), at_once(world, 50 if options.quick else 200, 16))
    finally:
        world.close()


def enter(netns: str) -> None:
    """Plugins are started from the host's namespace, as by its runtime."""
    from calico.dataplane.netns import enter_netns, open_netns

    enter_netns(open_netns(netns))


def report(took: dict[str, dict[str, list[float]]], together: dict[str, float]) -> None:
    print(f"{'':18}{'p50':>8}{'p95':>8}{'/bridge':>9}{'p95/bridge':>12}")
    for command in ("ADD", "DEL"):
        peer = took["bridge"][command]
        for name, by_command in took.items():
            values = by_command[command]
            middle, late = statistics.median(values), percentile(values, 0.95)
            ratios = f"{middle / statistics.median(peer):9.2f}{late / percentile(peer, 0.95):12.2f}"
            print(f"{command} {name:14}{middle:8.1f}{late:8.1f}{ratios}")
    print("many at once, ms a container")
    for name, value in together.items():
        print(f"ADD {name:14}{value:8.1f}{value / together['bridge']:17.2f}")


if __name__ == "__main__":
    main()
