"""What of IPAM goes with a Node and with an IPPool (data model §4, §16.11). A store is given this as its ``ipam``.

Loaded with every command that opens a store: the rest of IPAM is imported when something is deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from calico.datastore.api import Backend
    from calico.model.ippool import IPPool

__all__ = ["IPAMCascade"]


def _utc() -> datetime:
    return datetime.now(UTC)


class IPAMCascade:
    """Each call can be repeated."""

    def __init__(self, clock: Callable[[], datetime] = _utc) -> None:
        self._clock = clock

    async def pool_fault(self, backend: Backend, pool: IPPool) -> str:
        """Why a new pool does not fit: a block of another size lies in it, so that an address could be given twice."""
        from calico.ipam.choice.pools import pool_of
        from calico.ipam.stored.keys import blocks_prefix, network, parse_block_key

        try:
            new = pool_of(pool)
        except ValueError as error:
            return str(error)
        for kv in (await backend.list(blocks_prefix(new.version))).items:
            cidr = parse_block_key(kv.key)
            if cidr and network(cidr).prefixlen != new.block_size and network(cidr).overlaps(new.network):
                return f"block {cidr} of an earlier pool is still in use, so it must be {network(cidr).prefixlen}"
        return ""

    async def release_addresses(self, backend: Backend, addresses: Iterable[str]) -> None:
        """Take back what the endpoints and tunnels of a node that goes have. What IPAM did not give stays."""
        from calico.ipam.allocator import Allocator
        from calico.ipam.requests import ReleaseRequest

        requests = [ReleaseRequest(address=address) for address in addresses]
        if requests:
            await Allocator(backend, clock=self._clock).release_ips(requests)

    async def release_host(self, backend: Backend, host: str) -> None:
        """Give up all blocks of a host, and forget the host."""
        from calico.datastore.api import Op
        from calico.ipam.allocator import Allocator
        from calico.ipam.stored.keys import host_key

        await Allocator(backend, clock=self._clock).release_affinities(host)
        await backend.txn([Op(host_key(host))])

    async def release_pool(self, backend: Backend, cidr: str) -> None:
        """Give up all blocks within a CIDR, whoever has them: empty ones go, others with their last address."""
        from calico.ipam.steps.owning import Owning
        from calico.ipam.steps.patience import PatientBackend
        from calico.ipam.stored.config import read_settings
        from calico.ipam.stored.keys import HOST_PREFIX, VIRTUAL_PREFIX, network, parse_affinity_key

        pool = network(cidr)
        settings, _ = await read_settings(backend)
        owning = Owning(PatientBackend(backend, 0.0), self._clock)
        for prefix in (HOST_PREFIX, VIRTUAL_PREFIX):
            for kv in (await backend.list(prefix)).items:
                key = parse_affinity_key(kv.key)
                if key is not None and network(key.cidr).version == pool.version and network(key.cidr).overlaps(pool):
                    await owning.release(key.owner, key.cidr, settings.cooldown_s)
