"""Fills in the CalicoNodeStatus resources that ask about this host, as often as they want it.

A watch would bring every host the answers of all others. Instead the host asks now and then for resources that are new,
which costs nothing while there are none, and reads its own one by one. One that was turned to another host by changing
it, not by making it anew, is noticed when all are listed again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from calico.bgp.explain.looking import Looker
from calico.bgp.nodestatus.content import MOST_ROUTES, Seen, status_of
from calico.datastore.api import Backend
from calico.datastore.typed.store import Store
from calico.errors import CalicoError, NotFound, Transient
from calico.model.codec import decode
from calico.model.keys import kind_prefix, parse_key
from calico.model.nodestatus import CalicoNodeStatus, CalicoNodeStatusSpec

__all__ = ["Asked", "NodeStatusReporter"]

log = structlog.get_logger(__name__)

_KIND = "CalicoNodeStatus"
_LOOK_EVERY_S = 5.0
_LIST_ALL_EVERY_S = 600.0
_RETRY_S = 30.0
_NEVER = float("inf")


class Asked(msgspec.Struct):
    """A resource of ours: what it asked when it was last seen to, when the next answer is due, and before when one
    that failed is not tried again (loop time)."""

    answered: CalicoNodeStatusSpec | None = None
    due_at: float = 0.0
    retry_at: float = 0.0

    def is_due(self, resource: CalicoNodeStatus, now: float) -> bool:
        """Whether an answer is wanted now: a question that is for one answer and has it, wants none."""
        if now < self.retry_at:
            return False
        if resource.status.last_updated is None or self.answered not in (None, resource.spec):
            return True
        return bool(resource.spec.update_period_seconds) and now >= self.due_at


class NodeStatusReporter:
    """Answers for ``node``, by what ``looker`` and the agent's status ``document`` say."""

    def __init__(self, backend: Backend, node: str, looker: Looker, document: Callable[[], dict[str, Any]]) -> None:
        self._store, self._node = Store(backend), node
        self._looker, self._document = looker, document
        self._asked: dict[str, Asked] = {}
        self._listed_to = 0  # the revision up to which new resources are known; 0: list all
        self._list_all_at = 0.0

    async def run(self) -> None:
        """Answer until cancelled; what fails is tried again at the next look."""
        while True:
            try:
                await self.look()
            except CalicoError as error:
                log.info("node status was not reported", error=str(error))
            next_due = min((max(asked.due_at, asked.retry_at) for asked in self._asked.values()), default=_NEVER)
            await asyncio.sleep(min(_LOOK_EVERY_S, max(0.1, next_due - asyncio.get_running_loop().time())))

    async def look(self) -> None:
        """One round: find what is new, and answer what is due."""
        now = asyncio.get_running_loop().time()
        await self._find(now)
        for name, asked in list(self._asked.items()):
            try:
                await self._care_for(name, asked, now)
            except Transient:
                raise  # it is the datastore that is away
            except CalicoError as error:
                log.warning("node status was not written", name=name, error=str(error))
                asked.retry_at = now + _RETRY_S

    async def _find(self, now: float) -> None:
        if now >= self._list_all_at:
            self._listed_to, self._list_all_at = 0, now + _LIST_ALL_EVERY_S
        listing = await self._store.backend.list(kind_prefix(_KIND), created_after=self._listed_to)
        self._listed_to = listing.revision
        for item in listing.items:
            key = parse_key(item.key)
            resource = decode(key, item.value).resource if key is not None else None
            if isinstance(resource, CalicoNodeStatus) and resource.spec.node == self._node:
                self._asked.setdefault(resource.metadata.name, Asked())

    async def _care_for(self, name: str, asked: Asked, now: float) -> None:
        try:
            resource = await self._store.get(_KIND, name)
        except NotFound:
            resource = None
        if not isinstance(resource, CalicoNodeStatus) or resource.spec.node != self._node:
            del self._asked[name]
            return
        period_s = resource.spec.update_period_seconds or 0
        if asked.is_due(resource, now):
            await self._answer(resource)
            asked.due_at = now + period_s
        asked.answered = resource.spec
        if not period_s:
            asked.due_at = _NEVER

    async def _answer(self, resource: CalicoNodeStatus) -> None:
        seen = await self._see("Routes" in resource.spec.classes)
        left_out = sum(
            max(0, sum((":" in route.net) == six for route in seen.routes) - MOST_ROUTES) for six in (False, True)
        )
        if left_out:
            log.warning("node status leaves out routes", name=resource.metadata.name, left_out=left_out)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        status = status_of(resource.spec.classes, seen, now)
        await self._store.replace(msgspec.structs.replace(resource, status=status))

    async def _see(self, routes: bool) -> Seen:
        """What BIRD says; that it says nothing is an answer, too."""
        try:
            bird, sessions = await self._looker.overview()
            known = await self._looker.known() if routes else ()
        except Transient:
            return Seen()
        types = Seen.types_of(self._document())
        return Seen(bird=bird, sessions=tuple(sessions.values()), routes=known, types=types)
