"""What many watching hosts cost the core of etcd: connected directly, through a gateway each, through one grpc-proxy.

One etcd, N clients that each watch all resources as a host does, and puts at an even pace; the modes in turn, several
rounds. Counted are the CPU of the server and of the proxies, and how long a put takes to reach the clients (from before
the put until each client has it, median and 99th percentile over all clients and puts). Only ratios to *direct* within
one run mean anything. The clients are in one process, so that their own work is part of every latency. Writes
bench/results/watching_hosts.json.

    python bench/watching_hosts.py [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import socket
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from calico.datastore.api import Op, SyncStatus, Update
from calico.datastore.etcd.backend import EtcdBackend
from calico.datastore.etcd.server import EtcdConfig, EtcdProcess, find_etcd
from calico.datastore.sync.syncer import Syncer

RESULTS = Path(__file__).resolve().parent / "results" / "watching_hosts.json"
PREFIX = "/calico/resources/v3/projectcalico.org/"
VALUE = b"x" * 1000
PUTS_PER_S = 20
Figures = dict[str, float]


class Host:
    """A sink that remembers when it had which put."""

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}
        self.in_sync = asyncio.Event()

    def on_status(self, status: SyncStatus, reason: str = "") -> None:
        if status is SyncStatus.IN_SYNC:
            self.in_sync.set()

    def on_updates(self, updates: Sequence[Update], revision: int) -> None:
        now = time.perf_counter()
        for update in updates:
            self.seen[update.key] = now


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def proxies(argvs: Sequence[Sequence[str]]) -> AsyncIterator[list[int]]:
    """Processes that run while this lasts; their ids."""
    started = [
        await asyncio.create_subprocess_exec(
            *argv, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        for argv in argvs
    ]
    try:
        yield [process.pid for process in started]
    finally:
        for process in started:
            process.kill()
        for process in started:
            await process.wait()


async def measure(core: EtcdProcess, urls: Sequence[str], pids: Sequence[int], *, probe: bool, puts: int) -> Figures:
    """Watch at each URL, put at an even pace, and count."""
    hosts = [Host() for _ in urls]
    backends = [EtcdBackend([url], probe=probe) for url in urls]
    tasks = [
        asyncio.create_task(Syncer(backend, [PREFIX], host).run())
        for backend, host in zip(backends, hosts, strict=True)
    ]
    writer = EtcdBackend(core.endpoints)
    await asyncio.gather(*(host.in_sync.wait() for host in hosts))
    assert core.pid is not None
    before, own, via = cpu_s(core.pid), time.process_time(), sum(map(cpu_s, pids))
    sent: dict[str, float] = {}
    took: list[float] = []
    for number in range(puts):
        key = f"{PREFIX}workloadendpoints/ns/w{time.monotonic_ns()}-{number}"
        sent[key] = time.perf_counter()
        await writer.txn([Op(key, VALUE)])
        took.append(time.perf_counter() - sent[key])
        await asyncio.sleep(max(0.0, sent[key] + 1 / PUTS_PER_S - time.perf_counter()))
    while not all(len(host.seen.keys() & sent.keys()) == puts for host in hosts):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    after, own_after, via_after = cpu_s(core.pid), time.process_time(), sum(map(cpu_s, pids))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for backend in (*backends, writer):
        await backend.close()
    late = sorted((host.seen[key] - at) * 1000 for host in hosts for key, at in sent.items())
    return {
        "core CPU s": after - before,
        "proxies CPU s": via_after - via,
        "clients CPU s": own_after - own,
        "event p50 ms": late[len(late) // 2],
        "event p99 ms": late[len(late) * 99 // 100],
        "put p50 ms": statistics.median(took) * 1000,
    }


async def direct(core: EtcdProcess, hosts: int, puts: int) -> Figures:
    return await measure(core, core.endpoints * hosts, (), probe=True, puts=puts)


async def gateways(core: EtcdProcess, hosts: int, puts: int) -> Figures:
    """One on every host, as ``calico etcd gateway`` starts it."""
    target = core.config.client_url.removeprefix("http://")
    listening = [f"127.1.{number // 250}.{number % 250 + 1}:2379" for number in range(hosts)]
    argvs = [
        [find_etcd(), "gateway", "start", f"--listen-addr={at}", f"--endpoints={target}", "--retry-delay=1s"]
        for at in listening
    ]
    async with proxies(argvs) as pids:
        urls = [f"http://{at}" for at in listening]
        await asyncio.gather(*map(answers, urls))
        return await measure(core, urls, pids, probe=True, puts=puts)


async def shared_proxy(core: EtcdProcess, hosts: int, puts: int) -> Figures:
    """One caching proxy for all; behind it nobody answers the watch's own probes."""
    at = free_address()
    argv = [find_etcd(), "grpc-proxy", "start", f"--listen-addr={at}", f"--endpoints={core.config.client_url}"]
    async with proxies([[*argv, f"--advertise-client-url={at}"]]) as pids:
        await answers(f"http://{at}")
        return await measure(core, [f"http://{at}"] * hosts, pids, probe=False, puts=puts)


async def answers(url: str) -> None:
    backend = EtcdBackend([url])
    try:
        await backend.wait_ready(60)
    finally:
        await backend.close()


MODES: dict[str, Callable[[EtcdProcess, int, int], Awaitable[Figures]]] = {
    "direct": direct,
    "a gateway each": gateways,
    "one grpc-proxy": shared_proxy,
}


async def run(hosts: int, rounds: int, puts: int) -> dict[str, Figures]:
    with tempfile.TemporaryDirectory(prefix="watchbench") as directory:
        at, peer = f"http://{free_address()}", f"http://{free_address()}"
        config = EtcdConfig(name="core", data_dir=Path(directory) / "d", client_url=at, peer_url=peer, election_ms=200)
        core = EtcdProcess(config)
        await core.start()
        try:
            await core.wait_ready()
            found: dict[str, list[Figures]] = {name: [] for name in MODES}
            for _ in range(rounds):
                for name, mode in MODES.items():
                    found[name].append(await mode(core, hosts, puts))
        finally:
            await core.kill()
    return {
        name: {key: statistics.median(each[key] for each in figures) for key in figures[0]}
        for name, figures in found.items()
    }


def show(figures: dict[str, Figures], hosts: int) -> None:
    base = figures["direct"]
    print(f"{hosts} watching hosts, {PUTS_PER_S} puts/s of 1 kB; in brackets: of direct")
    print(f"{'':16}" + "".join(f"{name:>24}" for name in base))
    for mode, found in figures.items():
        cells = [
            f"{value:.2f} ({value / base[name]:.2f})" if base[name] else f"{value:.2f}" for name, value in found.items()
        ]
        print(f"{mode:16}" + "".join(f"{cell:>24}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20 hosts, one round")
    quick = parser.parse_args().quick
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    hosts, rounds, puts = (20, 1, 40) if quick else (100, 3, 120)
    figures = asyncio.run(run(hosts, rounds, puts))
    show(figures, hosts)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"hosts": hosts, "figures": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
