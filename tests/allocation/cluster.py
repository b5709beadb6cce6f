"""A cluster in memory to allocate in: hosts, pools, a clock that stands still, and a count of round trips."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from calico.datastore.api import KeyValue, Listing, Op, Query
from calico.datastore.memory import MemoryBackend
from calico.datastore.typed.store import Store
from calico.ipam.allocator import Allocator
from calico.ipam.audit.consistency import Finding, findings
from calico.ipam.audit.state import IPAMState, read_state
from calico.ipam.requests import Assignment, AssignRequest
from calico.ipam.stored.config import IPAMSettings, write_settings
from calico.model.ipam import IPReservation, IPReservationSpec
from calico.model.ippool import IPPool, IPPoolSpec
from calico.model.meta import Metadata
from calico.model.node import Node


class Counting:
    """A backend that counts, and tells what was asked for."""

    def __init__(self, backend: MemoryBackend) -> None:
        self.backend, self.calls = backend, list[str]()

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        self.calls.append(f"get {key}")
        return await self.backend.get(key, revision=revision)

    async def list(self, prefix: str, *, revision: int = 0, created_after: int = 0) -> Listing:
        self.calls.append(f"list {prefix}")
        return await self.backend.list(prefix, revision=revision)

    async def read(self, queries: Sequence[Query]) -> tuple[tuple[KeyValue, ...], ...]:
        self.calls.append("read " + " ".join(query.key for query in queries))
        return await self.backend.read(queries)

    async def txn(self, ops: Sequence[Op]) -> int:
        self.calls.append("txn")
        return await self.backend.txn(ops)


class Cluster:
    """Hosts ``a``, ``b`` and ``c``."""

    def __init__(self) -> None:
        self.backend = MemoryBackend()
        self.counting = Counting(self.backend)
        self.store = Store(self.backend)
        self.now = datetime(2026, 8, 22, 13, 0, tzinfo=UTC)
        self.allocator = self.another()

    def another(self) -> Allocator:
        """An allocator of another process."""
        return Allocator(self.counting, clock=lambda: self.now, patience_s=0)

    def later(self, **duration: float) -> None:
        self.now += timedelta(**duration)

    async def hosts(self, **labels: dict[str, str]) -> Cluster:
        for name in ("a", "b", "c"):
            await self.store.create(Node(metadata=Metadata(name=name, labels=labels.get(name, {}))))
        return self

    async def pool(self, name: str, cidr: str, **spec: object) -> None:
        await self.store.create(IPPool(metadata=Metadata(name=name), spec=IPPoolSpec(cidr=cidr, **spec)))

    async def reserve(self, *cidrs: str) -> None:
        spec = IPReservationSpec(reserved_cidrs=cidrs)
        await self.store.create(IPReservation(metadata=Metadata(name=f"r{len(cidrs)}"), spec=spec))

    async def configure(self, **settings: object) -> None:
        await write_settings(self.backend, IPAMSettings(**settings), await self.backend.get("/calico/ipam/v2/config"))

    async def assign(self, host: str, handle: str, v4: int = 1, **more: object) -> Assignment:
        return await self.allocator.auto_assign(AssignRequest(hostname=host, v4=v4, handle=handle, **more))

    async def one(self, host: str, handle: str, **more: object) -> str:
        """The only IPv4 address of an assignment."""
        found = await self.assign(host, handle, **more)
        assert len(found.v4) == 1, found.reason
        return str(found.v4[0].ip)

    async def state(self) -> IPAMState:
        return await read_state(self.backend)

    async def problems(self) -> list[Finding]:
        """What is wrong, but for addresses that no endpoint has: there are no endpoints here."""
        return [finding for finding in findings(await self.state()) if finding.code != "address-leaked"]
