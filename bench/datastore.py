"""How fast the datastore client is: bulk writes, listing, first synchronisation, live changes, single puts.

``python bench/datastore.py [--quick]`` starts an etcd of its own on loopback (about 20 s, or 5 s).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import resource
import socket
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from calico.datastore.api import Op, SyncStatus, Update
from calico.datastore.etcd.backend import EtcdBackend
from calico.datastore.etcd.server import EtcdConfig, EtcdProcess
from calico.datastore.sync.syncer import Syncer

PREFIX = "/calico/resources/v3/projectcalico.org/"
VALUE_BYTES = 1000


class Counter:
    """A sink that only counts."""

    def __init__(self) -> None:
        self.updates = 0

    def on_status(self, status: SyncStatus, reason: str = "") -> None:
        pass

    def on_updates(self, updates: Sequence[Update], revision: int) -> None:
        self.updates += len(updates)

    async def reached(self, count: int) -> None:
        while self.updates < count:  # noqa: ASYNC110 - polling is cheap against what is measured
            await asyncio.sleep(0.005)


def free_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


async def write(backend: EtcdBackend, keys: int, fill: bytes, per_txn: int) -> None:
    for start in range(0, keys, per_txn):
        numbers = range(start, min(start + per_txn, keys))
        await backend.txn([Op(f"{PREFIX}workloadendpoints/ns/{n:06}", fill * VALUE_BYTES) for n in numbers])


def report(what: str, count: int, took_s: float) -> None:
    print(f"{what:28} {count:7} in {took_s:6.2f} s = {count / took_s:9.0f}/s")


async def measure(backend: EtcdBackend, keys: int) -> None:
    clock = time.perf_counter
    start = clock()
    await write(backend, keys, b"x", 100)
    report("keys written, 100 a txn", keys, clock() - start)
    times = []
    for _ in range(3):
        start = clock()
        await backend.list(PREFIX)
        times.append(clock() - start)
    report("keys listed (best of 3)", keys, min(times))
    sink = Counter()
    start = clock()
    task = asyncio.create_task(Syncer(backend, [PREFIX], sink).run())
    await sink.reached(keys)
    report("keys of first sync", keys, clock() - start)
    start = clock()
    await write(backend, keys // 5, b"y", 50)
    await sink.reached(keys + keys // 5)
    report("live changes, 50 a txn", keys // 5, clock() - start)
    start = clock()
    for number in range(500):
        await backend.txn([Op("/elsewhere", str(number).encode())])
    report("single puts, one by one", 500, clock() - start)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")


async def main(keys: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as directory:
        config = EtcdConfig(
            name="bench",
            data_dir=Path(directory) / "etcd",
            client_url=free_url(),
            peer_url=free_url(),
            unsafe_no_fsync=True,
        )
        server = EtcdProcess(config)
        backend = EtcdBackend(server.endpoints)
        try:
            await server.start()
            await server.wait_ready()
            await measure(backend, keys)
        finally:
            await backend.close()
            await server.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10 000 keys instead of 100 000")
    asyncio.run(main(10_000 if parser.parse_args().quick else 100_000))
