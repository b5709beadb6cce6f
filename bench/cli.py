"""How fast the command line answers: time to the first byte, to the end, and of the processor, of usual queries.

``python bench/cli.py [--quick]`` starts an etcd of its own on loopback with 1,000 network policies (``--quick``: 200).
Each figure is the median; ratios are against ``etcdctl get --prefix`` of the same keys and against a bare start of
Python, measured in the same run. Bytecode is cached, as after an installation. On a machine that has other work the
time of the processor is the figure to look at.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from calico.datastore.api import Op
from calico.datastore.etcd.backend import EtcdBackend
from calico.datastore.etcd.server import EtcdConfig, EtcdProcess
from calico.datastore.typed.initialise import initialise
from calico.datastore.typed.store import Store

PREFIX = "/calico/resources/v3/projectcalico.org/networkpolicies/shop/"
POLICY = (
    '{{"kind":"NetworkPolicy","apiVersion":"projectcalico.org/v3","metadata":{{"name":"policy-{n:04}",'
    '"namespace":"shop","uid":"11111111-1111-1111-1111-{n:012}","creationTimestamp":"2026-08-22T13:33:20Z",'
    '"labels":{{"zone":"z{zone}","projectcalico.org/tier":"default"}}}},"spec":{{"tier":"default","order":{n},'
    '"selector":"app == \'web-{n}\'","types":["Ingress"],"ingress":[{{"action":"Allow","protocol":"TCP",'
    '"source":{{"selector":"role == \'front\'","nets":["10.0.0.0/8"]}},"destination":{{"ports":[80,443]}}}}]}}}}'
)
QUERIES = (
    ("table", ("get", "np", "-n", "shop")),
    ("wide", ("get", "np", "-n", "shop", "-o", "wide")),
    ("name", ("get", "np", "-n", "shop", "-o", "name")),
    ("selector", ("get", "np", "-n", "shop", "-l", "zone == 'z3'")),
    ("one by name", ("get", "np", "policy-0007", "-n", "shop")),
    ("json", ("get", "np", "-n", "shop", "-o", "json")),
    ("yaml", ("get", "np", "-n", "shop", "-o", "yaml")),
    ("custom-columns", ("get", "np", "-n", "shop", "-o", "custom-columns=N:.metadata.name,O:.spec.order")),
    ("cluster info", ("cluster", "info")),
    ("explain", ("explain", "np.spec")),
    ("--help", ("--help",)),
)


def free_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


async def fill(url: str, count: int) -> None:
    backend = EtcdBackend((url,))
    numbers = range(count)
    for start in range(0, count, 100):
        part = numbers[start : start + 100]
        await backend.txn([Op(f"{PREFIX}policy-{n:04}", POLICY.format(n=n, zone=n % 10).encode()) for n in part])
    await initialise(Store(backend))
    await backend.close()


class Took(NamedTuple):
    """Milliseconds to the first byte and to the end, and of the processor."""

    first: float
    end: float
    processor: float


def timed(command: Sequence[str], environment: dict[str, str]) -> Took:
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        select.select([process.stdout], [], [])
        first = time.monotonic()
        process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    ended = time.monotonic()
    assert process.returncode == 0, command
    return Took((first - began) * 1000, (ended - began) * 1000, (usage.ru_utime + usage.ru_stime) * 1000)


def median(command: Sequence[str], environment: dict[str, str], rounds: int) -> Took:
    timed(command, environment)  # bytecode and page cache
    found = [timed(command, environment) for _ in range(rounds)]
    return Took(*(statistics.median(values) for values in zip(*found, strict=True)))


def measure(url: str, count: int, rounds: int, cache: Path) -> None:
    environment = {**os.environ, "ETCD_ENDPOINTS": url, "ETCDCTL_API": "3", "PYTHONPYCACHEPREFIX": str(cache)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    bare = median([sys.executable, "-c", "print()"], environment, rounds)
    listing = [shutil.which("etcdctl") or "etcdctl", "--endpoints", url, "get", "--prefix", PREFIX]
    etcdctl = median(listing, environment, rounds)
    print(f"{count} network policies, median of {rounds}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    print(f"{'query':16} {'first byte':>12} {'end':>10} {'processor':>10} {'end / etcdctl':>14} {'end / Python':>13}")
    rows = [("bare Python", bare), ("etcdctl", etcdctl)]
    rows += [(name, median([sys.executable, "-m", "calico", *words], environment, rounds)) for name, words in QUERIES]
    for name, took in rows:
        times = f"{took.first:9.0f} ms {took.end:7.0f} ms {took.processor:7.0f} ms"
        print(f"{name:16} {times} {took.end / etcdctl.end:14.1f} {took.end / bare.end:13.1f}")


async def serve(count: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        config = EtcdConfig(
            name="bench", data_dir=root / "etcd", client_url=free_url(), peer_url=free_url(), unsafe_no_fsync=True
        )
        server = EtcdProcess(config)
        try:
            await server.start()
            await server.wait_ready()
            await fill(config.client_url, count)
            await asyncio.to_thread(measure, config.client_url, count, rounds, root / "bytecode")
        finally:
            await server.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    asyncio.run(serve(200 if arguments.quick else 1000, 3 if arguments.quick else 9))


if __name__ == "__main__":
    main()
