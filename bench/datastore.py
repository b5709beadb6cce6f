"""How fast the datastore is: listing and decoding, following changes, one resource after the other by API and command.

``python bench/datastore.py [--quick]`` starts an etcd of its own on loopback with 100,000 workload endpoints
(``--quick``: 10,000) and writes 1,000 (200) policies. Each line has a peer measured in the same run: gRPC's Range with
json.loads, ``etcdctl watch``, bare compare-and-swap transactions. The best of three; memory is the peak of a process
that does only that.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from _datastore_parts import POLICIES, Took, policy, write_endpoints
from calico.datastore.etcd.backend import EtcdBackend
from calico.datastore.etcd.server import EtcdConfig, EtcdProcess
from calico.datastore.typed.initialise import initialise
from calico.datastore.typed.store import Store


def free_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def run(command: Sequence[str], environment: dict[str, str] | None = None) -> tuple[bytes, float, int]:
    """(what it printed, seconds, peak memory in MB)"""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return printed, time.perf_counter() - began, usage.ru_maxrss // 1024


def part(name: str, url: str, count: int, rounds: int = 3) -> tuple[Took, int]:
    """The best of each figure, and the peak of memory."""
    best: Took = {}
    memory = 0
    for _ in range(rounds):
        script = str(Path(__file__).with_name("_datastore_parts.py"))
        printed, _, megabytes = run([sys.executable, script, name, url, str(count)])
        for key, value in json.loads(printed.splitlines()[-1]).items():
            best[key] = min(value, best.get(key, value))
        memory = max(memory, megabytes)
    return best, memory


def report(what: str, count: int, took_s: float, peer: str, peer_s: float) -> None:
    rate, theirs = f"{count / took_s:8.0f}/s", f"{count / peer_s:8.0f}/s"
    print(f"{what:32} {took_s:7.2f} s {rate}   {peer:28} {peer_s:7.2f} s {theirs}   ratio {took_s / peer_s:5.2f}")


def measure_bulk(url: str, keys: int) -> None:
    raw, raw_mb = part("raw_list", url, keys)
    ours, our_mb = part("our_list", url, keys)
    report(f"list and decode {keys}", keys, ours["list"], "Range and json.loads", raw["list"])
    theirs, _ = part("etcdctl_follow", url, keys)
    follow, follow_mb = part("follow", url, keys)
    report(f"first sync of {keys}", keys, follow["first sync"], "Range and json.loads", raw["list"])
    report(f"syncer, {keys // 5} live changes", keys // 5, follow["live"], "etcdctl watch", theirs["live"])
    print(f"peak memory: list {our_mb} MB, Range and json.loads {raw_mb} MB, syncer {follow_mb} MB")


def measure_single(url: str, count: int) -> None:
    raw, _ = part("raw_crud", url, count)
    ours, memory = part("api_crud", url, count)
    for verb, took in ours.items():
        report(f"{verb} {count} by Python", count, took, "bare transactions", raw[verb])
    print(f"peak memory: Python client {memory} MB")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.dump_all((policy(n) for n in range(count)), file, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper))
        file.flush()
        environment = {**os.environ, "ETCD_ENDPOINTS": url}
        command = [sys.executable, "-m", "calico", "apply", "-f", file.name]
        _, first, _ = run(command, environment)
        report(f"apply -f of {count}, create (once)", count, first, "bare transactions", raw["create"])
        _, best, memory = min((run(command, environment) for _ in range(3)), key=lambda taken: taken[1])
        report(f"apply -f of {count}, replace", count, best, "bare transactions", raw["update"])
    print(f"peak memory: apply -f {memory} MB")


async def main(keys: int, policies: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        config = EtcdConfig(
            name="bench",
            data_dir=Path(directory) / "etcd",
            client_url=free_url(),
            peer_url=free_url(),
            unsafe_no_fsync=True,
        )
        server = EtcdProcess(config)
        url = config.client_url
        try:
            await server.start()
            await server.wait_ready()
            backend = EtcdBackend([url])
            await initialise(Store(backend))
            await write_endpoints(url, keys)
            print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
            await asyncio.to_thread(measure_single, url, policies)
            await backend.delete_prefix(POLICIES)
            await backend.close()
            await asyncio.to_thread(measure_bulk, url, keys)
        finally:
            await server.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10,000 endpoints and 200 policies")
    quick = parser.parse_args().quick
    asyncio.run(main(10_000 if quick else 100_000, 200 if quick else 1_000))
