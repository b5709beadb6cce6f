"""How fast addresses are given out and taken back, against the bare round trips to the same etcd that this needs.

``python bench/ipam.py [--quick]`` starts an etcd of its own on loopback (about 20 s, or 5 s).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import socket
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog

from calico.datastore.api import Op
from calico.datastore.etcd.backend import EtcdBackend
from calico.datastore.etcd.server import EtcdConfig, EtcdProcess
from calico.datastore.typed.store import Store
from calico.ipam.allocator import Allocator
from calico.ipam.requests import AssignRequest
from calico.model.ippool import IPPool, IPPoolSpec
from calico.model.meta import Metadata
from calico.model.node import Node

HOSTS = 500
ATTRS = {"namespace": "default", "node": "host-0", "pod": "web-0", "timestamp": "2026-08-22 13:33:20"}


def free_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


async def each_ms(count: int, call: Callable[[int], Awaitable[object]]) -> float:
    """The median of calls one after the other."""
    took = []
    for number in range(count):
        start = time.perf_counter()
        await call(number)
        took.append(1000 * (time.perf_counter() - start))
    return statistics.median(took)


async def per_second(count: int, call: Callable[[int], Awaitable[object]]) -> float:
    """Calls that are all begun at once."""
    start = time.perf_counter()
    await asyncio.gather(*(call(number) for number in range(count)))
    return count / (time.perf_counter() - start)


def allocator(backend: EtcdBackend) -> Allocator:
    return Allocator(backend, clock=lambda: datetime.now(UTC))


async def prepare(backend: EtcdBackend) -> None:
    """A cluster in which most hosts have a block already."""
    store = Store(backend)
    for number in range(HOSTS):
        await store.create(Node(metadata=Metadata(name=f"host-{number}")))
    await store.create(IPPool(metadata=Metadata(name="p"), spec=IPPoolSpec(cidr="10.0.0.0/13")))
    everyone = allocator(backend)
    for number in range(1, HOSTS):
        await everyone.auto_assign(AssignRequest(hostname=f"host-{number}", v4=1, handle=f"first.{number}"))


async def measure(backend: EtcdBackend, count: int) -> None:
    bare_read = await each_ms(count, lambda n: backend.get(f"/bench/{n}"))
    value = b"x" * 1200

    async def write(number: int) -> None:
        await backend.txn([Op("/bench/block", value), Op(f"/bench/handle/{number}", b"{}", expect=0)])

    bare_write = await each_ms(count, write)
    bare = bare_read + bare_write
    print(f"bare round trips: read {bare_read:.2f} ms, write of two keys {bare_write:.2f} ms")

    warm = allocator(backend)

    def assign(name: str, owner: Allocator, host: str = "host-0") -> Callable[[int], Awaitable[object]]:
        return lambda n: owner.auto_assign(AssignRequest(hostname=host, v4=1, handle=f"{name}.{n}", attrs=ATTRS))

    await assign("warm-up", warm)(0)
    took = await each_ms(count, assign("warm", warm))
    print(f"assign, warm:               {took:6.2f} ms = {took / bare:4.1f} x one read and one write")
    cold = await each_ms(count // 4, lambda n: assign("cold", allocator(backend))(n))  # noqa: PLW0108 - a new one each time
    print(f"assign, by a new process:   {cold:6.2f} ms = {cold / bare:4.1f} x")
    gone = await each_ms(count, lambda n: warm.release_by_handle(f"warm.{n}"))
    print(f"release by handle:          {gone:6.2f} ms = {gone / bare:4.1f} x")
    await asyncio.gather(*(warm.release_by_handle(f"cold.{n}") for n in range(count // 4)))

    rate = await per_second(count, lambda n: write(count + n))
    together = await per_second(count, assign("many", warm))
    print(f"{count} at once on one host:   {together:6.0f}/s, bare writes {rate:6.0f}/s = {rate / together:4.1f} x")
    hosts = [allocator(backend) for _ in range(3)]

    async def spread(number: int) -> None:
        await assign("spread", hosts[number % 3], f"host-{number % 3}")(number)

    together = await per_second(count, spread)
    print(f"{count} at once on 3 hosts:    {together:6.0f}/s, bare writes {rate:6.0f}/s = {rate / together:4.1f} x")


async def run(quick: bool) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory() as directory:
        config = EtcdConfig(
            name="bench", data_dir=Path(directory) / "etcd", client_url=free_url(), peer_url=free_url(), election_ms=100
        )
        server = EtcdProcess(config)
        try:
            await server.start()
            await server.wait_ready()
            backend = EtcdBackend(server.endpoints)
            await prepare(backend)
            await measure(backend, 100 if quick else 400)
            await backend.close()
        finally:
            await server.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer calls")
    asyncio.run(run(parser.parse_args().quick))


if __name__ == "__main__":
    main()
