"""How long real runtimes take with our plugin and with Debian's bridge and host-local, on one host, in turns.

``python bench/runtimes.py [--quick]`` makes a host with etcd, BIRD, Felix and the CNI daemon, and two containerds on
it: one attaches pods by our plugin, one by Debian's. Milliseconds of RunPodSandbox and StopPodSandbox, as the kubelet
would wait for them, and of podman run and rm; and ratios to bridge. Needs root and ``make runtimes``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from functional.bgp.conftest import Fabric
from functional.runtimes.cluster import Cluster
from functional.runtimes.containerd_runtime import Containerd
from functional.runtimes.images import docker_archive
from functional.runtimes.podman_runtime import Podman
from functional.runtimes.site import Site

Times = dict[str, dict[str, list[float]]]


def bridged(directory: Path, netns: str) -> Site:
    """The same host with another list of plugins."""
    site = Site(directory / "bridged", netns)
    ipam = {"type": "host-local", "subnet": "10.79.0.0/16", "dataDir": str(directory / "leases")}
    routed = {**ipam, "routes": [{"dst": "0.0.0.0/0"}]}
    site.configure({"type": "bridge", "bridge": "bench0", "isGateway": True, "ipam": routed})
    return site


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.monotonic()
    found = work()
    return (time.monotonic() - began) * 1000, found


def pods(took: Times, runtimes: dict[str, Containerd], count: int) -> None:
    for number in range(count):
        for kind, runtime in runtimes.items():
            config = runtime.sandbox_config(f"pod{number}")
            up, answer = timed(lambda runtime=runtime, config=config: runtime.cri.call("RunPodSandbox", config=config))
            sandbox = answer.pod_sandbox_id
            down, _ = timed(
                lambda runtime=runtime, sandbox=sandbox: runtime.cri.call("StopPodSandbox", pod_sandbox_id=sandbox)
            )
            runtime.remove(sandbox)
            took.setdefault("RunPodSandbox", {}).setdefault(kind, []).append(up)
            took.setdefault("StopPodSandbox", {}).setdefault(kind, []).append(down)


def containers(took: Times, podmans: dict[str, Podman], count: int) -> None:
    for number in range(count):
        for kind, podman in podmans.items():
            name = f"box{number}"
            up, _ = timed(lambda podman=podman, name=name: podman.run(name))
            down, _ = timed(lambda podman=podman, name=name: podman.remove(name))
            took.setdefault("podman run", {}).setdefault(kind, []).append(up)
            took.setdefault("podman rm", {}).setdefault(kind, []).append(down)


def report(took: Times) -> None:
    print(f"{'':16}{'plugin':10}{'p50 ms':>10}{'p95 ms':>10}{'ratio':>8}")
    for what, kinds in took.items():
        base = statistics.median(kinds["bridge"])
        for kind, values in kinds.items():
            p50, p95 = statistics.median(values), sorted(values)[int(len(values) * 0.95)]
            print(f"{what:16}{kind:10}{p50:10.1f}{p95:10.1f}{p50 / base:8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    count = 8 if parser.parse_args().quick else 40
    took: Times = {}
    with tempfile.TemporaryDirectory(prefix="crt", ignore_cleanup_errors=True) as folder:
        directory = Path(folder)
        docker_archive(directory / "images.tar")
        cluster = Cluster(Fabric(directory), directory / "images.tar", hosts=1)
        try:
            (node,) = cluster.nodes
            node.configure()
            site = bridged(directory, node.host.netns)
            other, podman = Containerd(site, cluster.archive), Podman(site, cluster.archive)
            try:
                other.start()
                runtimes = {"bridge": other, "calico": node.containerd}
                pods({}, runtimes, 2)
                pods(took, runtimes, count)
                containers(took, {"bridge": podman, "calico": node.podman}, count // 2)
            finally:
                podman.close()
                other.close()
        finally:
            cluster.close(quiet=True)
    report(took)


if __name__ == "__main__":
    main()
