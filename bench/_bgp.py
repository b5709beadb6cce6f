"""What the BGP benches share: namespaces on a wire, etcd, our agent, a BIRD configured by hand, memory, goals."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from calico.bgp.bird.client import ControlClient
from calico.dataplane.links import Links
from calico.dataplane.netns import in_netns, temporary_netns
from calico.datastore.api import Op
from calico.datastore.etcd.backend import EtcdBackend

RESULTS = Path(__file__).parent / "results"
PREFIX = "/calico/resources/v3/projectcalico.org/"
_DEADLINE_S = 60.0


class Goal(NamedTuple):
    """``measured`` must not exceed ``limit``."""

    name: str
    measured: float
    limit: float

    def __str__(self) -> str:
        verdict = "met   " if self.measured <= self.limit else "MISSED"
        return f"  {verdict} {self.name} {self.measured:g} <= {self.limit:g}"


class Wire:
    """Two namespaces, the first with 10.0.0.1 and the second with 10.0.0.2 on eth0, and a directory."""

    def __init__(self, stack: ExitStack, directory: Path, name: str, length: int = 24) -> None:
        self.directory = directory / name
        self.directory.mkdir()
        prefix = f"cbb{os.getpid() % 100000}{name}"
        self.hosts = [stack.enter_context(temporary_netns(f"{prefix}{number}")) for number in (1, 2)]
        mac = bytes.fromhex("020000000000")
        with Links(self.hosts[0]) as first, Links(self.hosts[1]) as second:
            first.create_veth("eth0", "eth0", peer_netns=self.hosts[1], mac=mac[:5] + b"\1", peer_mac=mac[:5] + b"\2")
            for number, links in enumerate((first, second), 1):
                links.set_up("lo")
                links.set_up("eth0")
                links.add_address("eth0", f"10.0.0.{number}/{length}")


def spawn(stack: ExitStack, netns: str, output: Path, *command: str) -> subprocess.Popen[bytes]:
    """A process in a namespace, killed at the end."""
    with open(output, "ab") as file:
        process = subprocess.Popen(["nsenter", f"--net=/run/netns/{netns}", *command], stdout=file, stderr=file)

    def end() -> None:
        process.kill()
        process.wait()

    stack.callback(end)
    return process


def plain_bird(stack: ExitStack, netns: str, directory: Path, text: str) -> int:
    """A BIRD on a text of its own; its pid. Beside the text: bird.log and bird.ctl."""
    directory.mkdir(exist_ok=True)
    conf = directory / "bird.conf"
    conf.write_text(text)
    control = str(directory / "bird.ctl")
    return spawn(stack, netns, directory / "bird.out", "bird", "-f", "-c", str(conf), "-s", control).pid


def etcd(stack: ExitStack, netns: str, address: str, directory: Path) -> str:
    """A real etcd that hosts of the wire reach at ``address``; its URL."""
    url = f"http://{address}:2379"
    command = ["etcd", "--data-dir", str(directory / "etcd"), "--listen-client-urls", url, "--log-level", "error"]
    command += ["--advertise-client-urls", url, "--listen-peer-urls", "http://127.0.0.1:2380", "--enable-v2=false"]
    spawn(stack, netns, directory / "etcd.out", *command, "--unsafe-no-fsync")
    until(lambda: _answers(netns, url), "etcd answers")
    return url


def _answers(netns: str, url: str) -> bool:
    async def ask() -> bool:
        backend = EtcdBackend((url,))
        try:
            await backend.txn([Op(f"{PREFIX}clusterinformations/default", b'{"spec":{"datastoreReady":true}}')])
        finally:
            await backend.close()
        return True

    with suppress(Exception):
        return in_netns(netns, lambda: asyncio.run(ask()))
    return False


def op(key: str, spec: dict[str, Any] | None) -> Op:
    """The write of one resource, or its removal."""
    value = None if spec is None else json.dumps({"metadata": {"name": key.rpartition("/")[2]}, "spec": spec}).encode()
    return Op(PREFIX + key, value)


def put(netns: str, url: str, resources: dict[str, dict[str, Any]]) -> None:
    """Write resources, each ``<plural>/<name>``."""

    async def write() -> None:
        backend = EtcdBackend((url,))
        items = [op(key, spec) for key, spec in resources.items()]
        for start in range(0, len(items), 100):
            await backend.txn(items[start : start + 100])
        await backend.close()

    in_netns(netns, lambda: asyncio.run(write()))


def agent(stack: ExitStack, netns: str, node: str, url: str, directory: Path) -> subprocess.Popen[bytes]:
    """The real agent of a host. It leaves its BIRD running, so that BIRD is ended here."""
    command = [sys.executable, "-m", "calico", "bgp", "--node", node, "--etcd-endpoints", url]
    command += ["--run-dir", str(directory), "--secrets-dir", str(directory / "secrets")]
    stack.callback(_kill_bird, directory / "bird.pid")
    return spawn(stack, netns, directory.with_suffix(".out"), *command)


def _kill_bird(pid_file: Path) -> None:
    with suppress(OSError, ValueError):
        os.kill(int(pid_file.read_text()), 9)


def established(directory: Path) -> int:
    """How many sessions of a BIRD are up."""
    sessions = asyncio.run(ControlClient(directory / "bird.ctl", timeout_s=10).sessions())
    return sum(session.established for session in sessions.values())


def until(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of ``condition``."""
    end = time.monotonic() + _DEADLINE_S
    while time.monotonic() < end:
        with suppress(Exception):
            if found := condition():
                return found
        time.sleep(0.05)
    raise SystemExit(f"it never happened that {what}")


def memory_mb(pid: int) -> float:
    """What a process has for itself (PSS), in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (pss,) = [int(line.split()[1]) for line in lines if line.startswith("Pss:")]
    return round(pss / 1024, 1)


@contextmanager
def workshop() -> Iterator[tuple[ExitStack, Path]]:
    """A stack and a directory whose paths are short enough for sockets."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="cbb") as directory, ExitStack() as stack:
        yield stack, Path(directory)


def publish(name: str, results: dict[str, Any], goals: list[Goal]) -> None:
    """Print goals and keep results."""
    print(*goals, sep="\n")
    results["goals"] = [{**goal._asdict(), "met": goal.measured <= goal.limit} for goal in goals]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(results, indent=2) + "\n")
    missed = sum(goal.measured > goal.limit for goal in goals)
    print(f"{missed} goals missed; written to bench/results/{name}.json")
