"""One leader among all workers of a region, by a leased key of etcd. It is a leader as long as the key is its own.

Its writes name the key's revision, so that what a leader still sends after another took over is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress

from calico.datastore.api import Backend, CompareFailed, Op
from calico.errors import CalicoError, NotFound, Transient
from calico.obs.logger import Logger

__all__ = ["Leader", "Term"]

log = Logger(__name__)

_RETRY_S = 1.0


class Term:
    """A time in office: ``fence`` goes into every transaction of the leader."""

    def __init__(self, key: str, revision: int) -> None:
        self.fence = Op(key, expect=revision, check_only=True)


class Leader:
    """``lead`` runs while we are the leader and is cancelled when we are not. ``name`` is written for people."""

    def __init__(
        self, backend: Backend, key: str, name: str, ttl_s: int, lead: Callable[[Term], Awaitable[None]]
    ) -> None:
        self._backend, self._key, self._name, self._ttl_s, self._lead = backend, key, name, ttl_s, lead

    async def run(self) -> None:
        """Stand for election until cancelled; the lease is given back at the end."""
        while True:
            try:
                await self._stand()
            except CalicoError as error:
                log.info("calico_election_waits", reason=str(error))
                await asyncio.sleep(_RETRY_S)

    async def _stand(self) -> None:
        lease = await self._backend.grant(self._ttl_s)
        try:
            try:
                revision = await self._backend.txn([Op(self._key, self._name.encode(), expect=0, lease=lease)])
            except CompareFailed:
                await self._until_vacant(lease)
                return
            log.info("calico_leader_elected", name=self._name, revision=revision)
            await self._serve(lease, Term(self._key, revision))
            log.warning("calico_leader_stepped_down", name=self._name)
        finally:
            with suppress(CalicoError, TimeoutError):
                async with asyncio.timeout(2):
                    await asyncio.shield(self._backend.revoke(lease))

    async def _serve(self, lease: int, term: Term) -> None:
        """Until the lease is lost, or could not be renewed for as long as it lives."""
        office = asyncio.ensure_future(self._lead(term))
        keeper = asyncio.ensure_future(self._keep(lease))
        try:
            await asyncio.wait({office, keeper}, return_when=asyncio.FIRST_COMPLETED)
            if office.done():
                office.result()
        finally:
            for task in (office, keeper):
                task.cancel()
            await asyncio.wait({office, keeper})

    async def _keep(self, lease: int) -> None:
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while loop.time() - renewed < self._ttl_s * 2 / 3:
            await asyncio.sleep(self._ttl_s / 4)
            try:
                asked = loop.time()
                async with asyncio.timeout(self._ttl_s / 4):
                    await self._backend.keepalive(lease)
                renewed = asked
            except NotFound:
                return
            except (Transient, TimeoutError) as error:
                log.info("calico_lease_not_renewed", reason=str(error))

    async def _until_vacant(self, lease: int) -> None:
        await self._backend.revoke(lease)
        start, _ = await self._backend.revision()
        if await self._backend.get(self._key) is None:
            return
        async with aclosing(self._backend.watch(self._key, start + 1)) as batches:
            async for batch in batches:
                if any(update.key == self._key and update.value is None for update in batch.updates):
                    return
                if await self._backend.get(self._key) is None:
                    return
