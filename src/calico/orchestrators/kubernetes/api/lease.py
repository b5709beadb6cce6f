"""One leader among several processes, by a Lease of coordination.k8s.io. No clock is compared with another's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from calico.errors import CalicoError, Conflict, NotFound, Transient
from calico.obs.logger import Logger
from calico.orchestrators.kubernetes.api.client import Client

__all__ = ["LeaseElection"]

log = Logger(__name__)


class LeaseElection:
    """``lead`` runs while we hold the Lease, and is cancelled when we do not.

    A Lease is free when it names nobody, or when it did not change for its whole duration as *we* saw it. We give up
    after two thirds of it without an answer, so that two never lead while clocks go at about the same speed; what
    a paused process does besides is the business of a fence.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        identity: str,
        lead: Callable[[], Awaitable[None]],
        *,
        duration_s: int = 15,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._lead, self._clock = client, lead, clock
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._path, self._name, self._namespace = f"{self._collection}/{name}", name, namespace
        self.identity, self._duration_s = identity, duration_s
        self._lease: dict[str, Any] = {}
        self._seen, self._seen_at, self._renewed = "", 0.0, float("-inf")
        self.leading = False
        self.trouble = ""

    def holds(self) -> bool:
        """Whether the Lease cannot be another's yet, as far as our clock tells."""
        return self.leading and self._clock() - self._renewed < self._duration_s * 2 / 3

    async def is_ours(self) -> bool:
        """Ask the server whether the Lease is ours now."""
        return bool((await self._client.get(self._path))["spec"].get("holderIdentity") == self.identity)

    async def run(self) -> None:
        """Stand for election until cancelled; the Lease is given back at the end."""
        while True:
            try:
                if await self._acquire():
                    await self._serve()
                self.trouble = ""
            except (Conflict, NotFound):
                log.debug("kubernetes_lease_lost_race", lease=self._path)
            except CalicoError as error:
                if str(error) != self.trouble:
                    log.warning("kubernetes_election_waits", lease=self._path, reason=str(error))
                self.trouble = str(error)
            await asyncio.sleep(self._duration_s / 10)

    async def _acquire(self) -> bool:
        asked = self._clock()
        try:
            found = await self._client.get(self._path)
        except NotFound:
            body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
            metadata = {"name": self._name, "namespace": self._namespace}
            self._lease = await self._client.create(
                self._collection, {**body, "metadata": metadata, "spec": self._spec(0)}
            )
            self._renewed = asked
            return True
        spec = found.get("spec") or {}
        version = str(found["metadata"].get("resourceVersion"))
        if version != self._seen:
            self._seen, self._seen_at = version, self._clock()
        holder, duration = spec.get("holderIdentity") or "", spec.get("leaseDurationSeconds") or self._duration_s
        if holder not in ("", self.identity) and self._clock() - self._seen_at < duration:
            return False
        found["spec"] = self._spec(int(spec.get("leaseTransitions") or 0) + (holder != self.identity))
        self._lease = await self._client.replace(self._path, found)
        self._renewed = asked
        return True

    async def _serve(self) -> None:
        log.info("kubernetes_leader_elected", identity=self.identity)
        self.leading, self.trouble = True, ""
        office, keeper = asyncio.ensure_future(self._lead()), asyncio.ensure_future(self._keep())
        try:
            await asyncio.wait({office, keeper}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (office, keeper):
                task.cancel()
            await asyncio.wait({office, keeper})
            self.leading = False
            await asyncio.shield(self._give_back())
        log.warning("kubernetes_leader_stepped_down", identity=self.identity)
        if not office.cancelled():
            office.result()

    async def _keep(self) -> None:
        """Renew until it is lost."""
        while self._clock() - self._renewed < self._duration_s * 2 / 3:
            await asyncio.sleep(self._duration_s / 5)
            asked = self._clock()
            try:
                async with asyncio.timeout(self._duration_s / 4):
                    body = {**self._lease, "spec": {**self._lease["spec"], "renewTime": _now()}}
                    self._lease = await self._client.replace(self._path, body)
                self._renewed = asked
            except (Conflict, NotFound):
                if not await self._still_named():
                    return
            except (Transient, TimeoutError) as error:
                log.info("kubernetes_lease_not_renewed", reason=str(error) or "no answer in time")

    async def _still_named(self) -> bool:
        """After a conflict, which our own write whose answer was lost can be."""
        try:
            found = await self._client.get(self._path)
        except NotFound:
            return False
        except CalicoError:
            return True
        if (found.get("spec") or {}).get("holderIdentity") != self.identity:
            return False
        self._lease = found
        return True

    async def _give_back(self) -> None:
        spec = {**self._lease["spec"], "holderIdentity": "", "renewTime": _now(), "leaseDurationSeconds": 1}
        try:
            async with asyncio.timeout(2):
                await self._client.replace(self._path, {**self._lease, "spec": spec})
        except (CalicoError, TimeoutError):
            return

    def _spec(self, transitions: int) -> dict[str, Any]:
        times = {"renewTime": _now(), "acquireTime": _now()}
        named = {"holderIdentity": self.identity, "leaseDurationSeconds": self._duration_s}
        return named | {"leaseTransitions": transitions} | times


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
