"""From what the syncer learns to what BIRD runs: gathers changes, plans, renders, applies, and tries again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import structlog

from calico.bgp.agentstate import AgentState
from calico.bgp.bird.supervisor import Applied, Supervisor
from calico.bgp.birdconf.render import render
from calico.bgp.endpointfeed import EndpointFeed
from calico.bgp.ownershipfeed import OwnershipFeed
from calico.bgp.planning.plan import ExportMode, Planned, build_plan
from calico.bgp.planning.serviceroutes import ServiceRoutes
from calico.bgp.planning.snapshot import BGPSnapshot, SnapshotStore, named_secrets
from calico.bgp.problem import Problem
from calico.bgp.secretfiles import SecretFiles
from calico.bgp.servicefeed import ServiceFeed
from calico.datastore.api import SyncStatus, Update
from calico.errors import InvalidInput, Transient

__all__ = ["Applier"]

log = structlog.get_logger(__name__)

_DATASTORE_PROBLEMS = {SyncStatus.LOCKED: "datastore-locked", SyncStatus.HELD: "datastore-held"}
_QUIET_S = 0.05
_AT_MOST_S = 1.0
_RETRY_FIRST_S, _RETRY_MAX_S = 1.0, 600.0
_RETRY_UNDONE_S = 30.0
_TURN_S, _MAX_TURNS = 2.0, 60
_LOOK_AGAIN_S = 0.5
_PATIENCE_S = 30.0  # a neighbour that is away for longer is not restarting but dead


class Applier:
    """The syncer's sink. Nothing reaches BIRD before the first complete view, nor from a view that is held back."""

    def __init__(
        self,
        node: str,
        supervisor: Supervisor,
        state: AgentState,
        export_mode: ExportMode,
        files: SecretFiles,
        feed: EndpointFeed,
        services: ServiceFeed,
        owners: OwnershipFeed,
    ) -> None:
        self._node = node
        self._supervisor = supervisor
        self._state = state
        self._export_mode = export_mode
        self._store = SnapshotStore(node)
        self._revision = 0
        self._status = SyncStatus.WAITING
        self._dirty = asyncio.Event()
        self._files, self._feed, self._services = files, feed, services
        self._services_known = False
        self._endpoints = _Endpoints(self._store, self._dirty)
        self._owners = owners
        files.on_change = owners.on_change = self._dirty.set
        feed.sink = self._endpoints
        self._turn_at: float | None = None  # when this host may restart BIRD gracefully; None: nothing waits for it

    def on_status(self, status: SyncStatus, reason: str = "") -> None:
        """Part of ``SyncerSink``."""
        self._status = status
        if status is SyncStatus.IN_SYNC:
            self._state.agent_problems = ()
            self._dirty.set()
        else:
            self._state.in_sync = False
            message = f"{status.value}: {reason}" if reason else status.value
            code = _DATASTORE_PROBLEMS.get(status, "datastore-not-in-sync")
            self._state.agent_problems = (Problem(code, "datastore", message),)

    def on_updates(self, updates: Sequence[Update], revision: int) -> None:
        """Part of ``SyncerSink``."""
        self._store.apply(updates)
        self._revision = max(self._revision, revision)
        self._dirty.set()

    def on_services(self, services: ServiceRoutes | None) -> None:
        """Part of ``ServiceSink``."""
        self._store.services = services
        self._services_known = True
        self._dirty.set()

    def on_services_forgotten(self) -> None:
        """Part of ``ServiceSink``."""
        self._store.services = None
        self._services_known = False

    async def run(self) -> None:
        """Apply whenever something changed, for ever."""
        retry_s = 0.0
        while True:
            await self._next_change(retry_s)
            if self._status is not SyncStatus.IN_SYNC:
                continue
            retry_s = await self._apply(retry_s)

    async def _next_change(self, retry_s: float) -> None:
        """Wait for a change, or for the time to try again; then until no more changes follow."""
        try:
            async with asyncio.timeout(retry_s or None):
                await self._dirty.wait()
        except TimeoutError:
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + _AT_MOST_S
        while self._dirty.is_set() and loop.time() < end:
            self._dirty.clear()
            await asyncio.sleep(_QUIET_S)
        self._dirty.clear()

    async def _apply(self, retried_after_s: float) -> float:
        """One round; the seconds after which to try again, 0 when all is well."""
        revision = self._revision
        planned = build_plan(self._snapshot(), self._node, self._export_mode)
        self._state.plan_problems = planned.problems
        self._feed.want(planned.needs_endpoints)
        if planned.needs_endpoints and not self._endpoints.known:
            self._state.in_sync = False  # without them sessions that run would seem to be no longer wanted
            return 0.0
        if not planned.held:
            self._services.want(planned.needs_services)
            self._owners.want(planned.needs_owners)
        if planned.needs_services and not self._services_known:
            self._state.in_sync = False  # without them what is advertised would be withdrawn
            return 0.0
        if planned.needs_owners and not self._owners.known:
            self._state.in_sync = False  # without them every route of a client would be rejected
            problem = Problem("bgp-owners-unknown", "datastore", self._owners.trouble or "IPAM's blocks are being read")
            self._state.plan_problems = (*planned.problems, problem)
            return 0.0
        if planned.held and self._supervisor.configuration:
            self._state.in_sync = False
            return 0.0
        longer = min(max(_RETRY_FIRST_S, 2 * retried_after_s), _RETRY_MAX_S)
        try:
            text = render(planned.plan, str(self._supervisor.files.log))
            applied = await self._supervisor.apply(
                text, may_restart=self._is_my_turn(), insist=self._is_my_turn(since_s=_PATIENCE_S)
            )
        except Transient as error:
            self._state.in_sync = False
            log.warning("apply failed", error=str(error), retry_s=longer)
            return longer
        except InvalidInput as error:
            self._state.in_sync = False
            self._supervisor.note("bird-check-failed", str(error))
            log.error("plan inexpressible", error=str(error))
            return 0.0
        return self._on_applied(applied, planned, revision, longer)

    def _snapshot(self) -> BGPSnapshot:
        """The datastore's state with the passwords on this host, which go before those in the datastore."""
        found = self._store.view()
        return msgspec.structs.replace(
            found,
            secrets={**found.secrets, **self._files.read(named_secrets(found))},
            owned=self._owners.owned,
            problems=(*found.problems, *self._owners.problems),
        )

    def _on_applied(self, applied: Applied, planned: Planned, revision: int, longer: float) -> float:
        if applied is not Applied.UNCHANGED:
            counted = self._state.configurations
            self._state.configurations = {**counted, applied.value: counted.get(applied.value, 0) + 1}
        if applied is Applied.POSTPONED:
            self._state.in_sync = False
            return self._wait_for_turn(planned.turn)
        self._turn_at = None
        if not applied.in_force:
            self._state.in_sync = False
            return max(longer, _RETRY_UNDONE_S)
        self._state.plan = planned.plan
        self._state.config_revision = revision
        self._state.in_sync = not planned.held
        if applied is not Applied.UNCHANGED:
            log.info("configuration applied", how=applied.value, rev=revision, sessions=len(planned.plan.peers))
        return 0.0

    def _is_my_turn(self, since_s: float = 0.0) -> bool:
        return self._turn_at is not None and asyncio.get_running_loop().time() >= self._turn_at + since_s

    def _wait_for_turn(self, turn: int) -> float:
        """Seconds until this host may restart BIRD, or until it should look again whether its neighbours are done."""
        now = asyncio.get_running_loop().time()
        if self._turn_at is None:
            self._turn_at = now + min(turn, _MAX_TURNS) * _TURN_S
        return max(self._turn_at - now, _LOOK_AGAIN_S)


class _Endpoints:
    """The sink of this host's workload endpoints. ``known``: all of them are in the store."""

    def __init__(self, store: SnapshotStore, dirty: asyncio.Event) -> None:
        self._store, self._dirty = store, dirty
        self.known = False

    def on_start(self) -> None:
        """Part of ``EndpointSink``."""
        self.known = False
        self._store.forget_endpoints()

    def on_status(self, status: SyncStatus, reason: str = "") -> None:
        """Part of ``EndpointSink``; what hinders this syncer hinders the other, which reports it."""
        if status is SyncStatus.IN_SYNC:
            self.known = True
            self._dirty.set()

    def on_updates(self, updates: Sequence[Update], revision: int) -> None:
        """Part of ``EndpointSink``."""
        self._store.apply(updates)
        self._dirty.set()
