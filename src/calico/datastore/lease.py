"""Keys that live as long as their writer: a kept lease, and Calico's way of writing status with a time to live."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from calico.datastore.api import Backend, Op
from calico.errors import NotFound, Transient
from calico.obs.logger import Logger

__all__ = ["KeptLease", "put_with_ttl"]

log = Logger(__name__)


async def put_with_ttl(backend: Backend, key: str, value: bytes, ttl_s: int) -> int:
    """Write ``key`` with a new lease of ``ttl_s`` seconds, as Felix does with each status; the new revision.

    The lease of an earlier write expires by itself: the key is no longer attached to it.
    """
    lease = await backend.grant(ttl_s)
    return await backend.txn([Op(key, value, lease=lease)])


class KeptLease:
    """A lease renewed every third of its life. When it was lost a new one is granted and ``on_granted`` is told.

    The owner writes its keys in ``on_granted(lease id)``: at the start, and again whenever the lease was lost, for
    its keys went with it. A leader change can double the life of a lease, so liveness must not depend on one TTL.
    """

    def __init__(
        self,
        backend: Backend,
        ttl_s: int,
        on_granted: Callable[[int], Awaitable[None]],
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._backend, self._ttl_s, self._on_granted, self._sleep = backend, ttl_s, on_granted, sleep
        self._lease = 0

    @property
    def lease(self) -> int:
        """The id to attach keys to; 0 while there is none."""
        return self._lease

    async def run(self) -> None:
        """Keep it until cancelled; an unreachable store is tried again."""
        while True:
            try:
                await self._step()
            except NotFound:
                log.warning("lease_lost", lease=f"{self._lease:x}", ttl_s=self._ttl_s)
                self._lease = 0
                continue
            except Transient as err:
                log.info("lease_not_renewed", reason=str(err))
            await self._sleep(self._ttl_s / 3)

    async def _step(self) -> None:
        if self._lease:
            await self._backend.keepalive(self._lease)
            return
        lease = await self._backend.grant(self._ttl_s)
        await self._on_granted(lease)
        self._lease = lease  # only now: a grant whose keys could not be written is not yet one

    async def release(self) -> None:
        """End the lease and its keys at once."""
        lease, self._lease = self._lease, 0
        if lease:
            await self._backend.revoke(lease)
