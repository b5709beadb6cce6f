"""Workloads that migrate to or from this host: LiveMigration resources and first frames in, stages of endpoints out.

::

                 source of a migration
      settled ──────────────────────────► leaving          no migration: back to settled
         │  target                           │  target (a migration back, or the rest of one that was activated)
         ▼                                   ▼
      arriving ── its first frame ────────► arrived        no migration any more: settled at once
                                             │
                                             └── some time after the migration has gone: settled
                                                 source of another one: leaving

Neutron makes the new host the source as soon as the migration is activated, before the old host's binding goes: who is
target and then source at once stays arrived.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Literal

import structlog

from calico.calc.messages import EndpointId, EndpointUpdate
from calico.dataplane.interfaces import Interface
from calico.dataplane.migration import FirstFrame, Stage
from calico.model.keys import ResourceKey
from calico.model.livemigration import LiveMigration, WorkloadEndpointIdentifier
from calico.model.meta import Resource

__all__ = ["Migrations"]

log = structlog.get_logger(__name__)

Role = Literal["source", "target"]


class Migrations:
    """The endpoints of ``node`` that are the source or target of a LiveMigration that names them."""

    def __init__(
        self,
        node: str,
        hold_s: Callable[[], float],
        on_stage: Callable[[EndpointId, Stage], None],
        listen: Callable[[str, bytes, Callable[[], None]], FirstFrame] = FirstFrame,
    ) -> None:
        """``hold_s``: for how long routes stay elevated after the migration has gone. ``on_stage`` is told every
        change; apply soon. ``listen`` waits for the first frame on an interface from a MAC."""
        self._node, self._hold_s, self._on_stage, self._first_frame = node, hold_s, on_stage, listen
        self._roles: dict[ResourceKey, tuple[tuple[EndpointId, Role], ...]] = {}
        self._by_endpoint: dict[EndpointId, set[ResourceKey]] = {}
        self._endpoints: dict[EndpointId, EndpointUpdate] = {}
        self._interfaces: dict[str, int] = {}
        self._stages: dict[EndpointId, Stage] = {}
        self._told: dict[EndpointId, Role] = {}
        self._to_move: set[EndpointId] = set()
        self._waiting: dict[EndpointId, FirstFrame] = {}
        self._holding: dict[EndpointId, asyncio.TimerHandle] = {}

    def on_resource(self, key: ResourceKey, value: Resource | None) -> None:
        """Every resource of the datastore; None: it has gone."""
        if key.kind != "LiveMigration":
            return
        roles = tuple(self._roles_of(value)) if isinstance(value, LiveMigration) else ()
        old = self._roles.pop(key, ())
        if roles:
            self._roles[key] = roles
        for endpoint, _ in old:
            self._by_endpoint[endpoint].discard(key)
            if not self._by_endpoint[endpoint]:
                del self._by_endpoint[endpoint]
        for endpoint, _ in roles:
            self._by_endpoint.setdefault(endpoint, set()).add(key)
        if not self._to_move:  # what comes with it (one migration ends, another begins) is looked at together
            asyncio.get_running_loop().call_soon(self._move_all)
        self._to_move.update(endpoint for endpoint, _ in (*old, *roles))

    def on_endpoint(self, endpoint: EndpointId, update: EndpointUpdate | None) -> None:
        """A local endpoint is new, changed or (None) gone."""
        if update is None:
            self._endpoints.pop(endpoint, None)
            self._settle(endpoint)
            return
        self._endpoints[endpoint] = update
        if endpoint in self._by_endpoint:
            self._move_one(endpoint)

    def on_interface(self, name: str, interface: Interface | None) -> None:
        """A workload's interface appeared, changed or (None) went."""
        index = interface.index if interface is not None else 0
        if index == self._interfaces.get(name, 0):
            return
        self._interfaces[name] = index
        if not index:
            del self._interfaces[name]
        for endpoint in self._by_endpoint:
            update = self._endpoints.get(endpoint)
            if update is not None and update.interface == name:
                self._listen(endpoint)

    def close(self) -> None:
        """Stop waiting for anything; stages stay."""
        for waiting in self._waiting.values():
            waiting.close()
        for timer in self._holding.values():
            timer.cancel()

    def _roles_of(self, migration: LiveMigration) -> Iterator[tuple[EndpointId, Role]]:
        source, target = migration.spec.source, migration.spec.target
        if source is not None and source.workload_endpoint is not None:
            yield from ((endpoint, "source") for endpoint in self._here(source.workload_endpoint))
        if target is not None and target.workload_endpoint is not None:
            yield from ((endpoint, "target") for endpoint in self._here(target.workload_endpoint))

    def _here(self, named: WorkloadEndpointIdentifier) -> Iterator[EndpointId]:
        if named.hostname == self._node:
            yield EndpointId(named.orchestrator_id, named.workload_id, named.endpoint_id)

    def _role(self, endpoint: EndpointId) -> Role | None:
        keys = self._by_endpoint.get(endpoint, ())
        roles = {role for key in keys for named, role in self._roles[key] if named == endpoint}
        return "target" if "target" in roles else "source" if roles else None

    def _move_all(self) -> None:
        moved, self._to_move = self._to_move, set()
        for endpoint in moved:
            self._move_one(endpoint)

    def _move_one(self, endpoint: EndpointId) -> None:
        role, stage = self._role(endpoint), self._stages.get(endpoint, "settled")
        before = self._told.pop(endpoint, None)
        if role is not None:
            self._told[endpoint] = role
        if stage == "arrived" and role == "source" and before is None:  # it leaves again
            self._stop_holding(endpoint)
            self._enter(endpoint, "leaving")
        elif stage == "arrived" and role != "target":
            if endpoint not in self._holding:
                loop = asyncio.get_running_loop()
                self._holding[endpoint] = loop.call_later(self._hold_s(), self._held, endpoint)
        elif role == "target":
            self._stop_holding(endpoint)
            self._enter(endpoint, "arrived" if stage == "arrived" else "arriving")
        else:
            self._enter(endpoint, "leaving" if role == "source" else "settled")

    def _enter(self, endpoint: EndpointId, stage: Stage) -> None:
        if stage != self._stages.get(endpoint, "settled"):
            log.info("endpoint migrates", endpoint=endpoint.endpoint, stage=stage)
            if stage == "settled":
                del self._stages[endpoint]
            else:
                self._stages[endpoint] = stage
            self._on_stage(endpoint, stage)
        self._listen(endpoint)

    def _held(self, endpoint: EndpointId) -> None:
        del self._holding[endpoint]
        self._enter(endpoint, "leaving" if self._role(endpoint) == "source" else "settled")

    def _settle(self, endpoint: EndpointId) -> None:
        self._stop_holding(endpoint)
        self._enter(endpoint, "settled")

    def _stop_holding(self, endpoint: EndpointId) -> None:
        timer = self._holding.pop(endpoint, None)
        if timer is not None:
            timer.cancel()

    def _listen(self, endpoint: EndpointId) -> None:
        """Wait anew for the first frame of an endpoint that arrives, on its interface as it is now."""
        waiting = self._waiting.pop(endpoint, None)
        if waiting is not None:
            waiting.close()
        update = self._endpoints.get(endpoint)
        if self._stages.get(endpoint) != "arriving" or update is None or update.interface not in self._interfaces:
            return
        try:
            self._waiting[endpoint] = self._first_frame(update.interface, update.mac, lambda: self._arrive(endpoint))
        except OSError as error:  # it went in this moment; its coming back is told
            log.warning("cannot wait for an endpoint's first frame", interface=update.interface, error=str(error))

    def _arrive(self, endpoint: EndpointId) -> None:
        self._waiting.pop(endpoint, None)
        self._enter(endpoint, "arrived")
