"""Where what the syncer learns enters the agent: decoded, indexed, and what is wrong with it noted.

Until the first complete view, what is known from disk counts; from then on only the datastore's word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import structlog

from calico.datastore.api import SyncStatus, Update
from calico.errors import InvalidInput
from calico.model.decoding import decode
from calico.model.keys import kind_prefix, parse_key
from calico.model.names import WorkloadEndpointIdentifiers
from calico.model.workload import WorkloadEndpoint
from calico.obs.conditions import Conditions
from calico.orchestrators.openstack import naming
from calico.orchestrators.openstack.compute.view import Known, View
from calico.orchestrators.openstack.records import EndpointRecord, SubnetRecord, decode_subnet, read_endpoint

__all__ = ["Inputs", "prefixes"]

log = structlog.get_logger(__name__)

_DATASTORE_CONDITIONS = {
    SyncStatus.WAITING: "datastore-not-ready",
    SyncStatus.LOCKED: "datastore-locked",
    SyncStatus.HELD: "datastore-held",
}


def prefixes(node: str, region: str) -> tuple[str, str]:
    """Of the keys of this host's instances and of all subnets."""
    identifiers = WorkloadEndpointIdentifiers(node=node, orchestrator=naming.ORCHESTRATOR)
    endpoints = kind_prefix("WorkloadEndpoint", naming.namespace(region)) + identifiers.prefix()
    return endpoints, naming.subnet_prefix(region)


class Inputs:
    """The sink of the agent's syncer. ``on_change`` is told the interfaces that something changed for."""

    def __init__(
        self, node: str, region: str, known: Known, conditions: Conditions, on_change: Callable[[set[str]], None]
    ) -> None:
        self._identifiers = WorkloadEndpointIdentifiers(node=node, orchestrator=naming.ORCHESTRATOR)
        self._subnets = naming.subnet_prefix(region)
        self._conditions = conditions
        self._on_change = on_change
        self._coming: View | None = View()
        self.view = View.of(known)
        """What counts now."""
        self.status = SyncStatus.WAITING
        self.reason = "not yet connected"
        self.revision = 0

    @property
    def in_sync(self) -> bool:
        """Whether the datastore was seen whole since the start."""
        return self._coming is None

    def known(self) -> Known:
        """What to remember."""
        return self.view.known()

    def on_status(self, status: SyncStatus, reason: str = "") -> None:
        """Note how far the view may be trusted; the first IN_SYNC replaces what was known from disk."""
        self.status, self.reason = status, reason
        for kind, code in _DATASTORE_CONDITIONS.items():
            if kind is status:
                self._conditions.set(code, "datastore", reason or status.value)
            else:
                self._conditions.clear(code, "datastore")
        if status is SyncStatus.IN_SYNC and self._coming is not None:
            concerned = {*self.view.interfaces, *self._coming.interfaces}
            self.view, self._coming = self._coming, None
            self._on_change(concerned)

    def on_updates(self, updates: Sequence[Update], revision: int) -> None:
        """Changes, in order."""
        view = self._coming or self.view
        concerned: set[str] = set()
        for update in updates:
            if update.key.startswith(self._subnets):
                concerned |= view.put_subnet(update.key.removeprefix(self._subnets), self._subnet(update))
            else:
                concerned |= self._on_endpoint(view, update)
        self.revision = revision or self.revision
        if view is self.view and concerned:
            self._on_change(concerned)

    def _on_endpoint(self, view: View, update: Update) -> set[str]:
        key = parse_key(update.key)
        if key is None or not self._is_ours(key.name):
            return set()
        record: EndpointRecord | None = None
        problems: tuple[str, ...] = ()
        if update.value is not None:
            decoded = decode(key, update.value, update.mod_revision)
            problems = decoded.problems
            if isinstance(decoded.resource, WorkloadEndpoint):
                record, unread = read_endpoint(decoded.resource)
                problems += unread
                if not record.project_id:  # networking-calico writes it as a label only
                    project = decoded.resource.metadata.labels.get(naming.PROJECT_ID_LABEL, "")
                    record = msgspec.structs.replace(record, project_id=project)
        self._note(str(key), problems)
        return view.put_endpoint(update.key, record)

    def _is_ours(self, name: str) -> bool:
        try:
            return self._identifiers.matches(name)
        except InvalidInput:
            return False

    def _subnet(self, update: Update) -> SubnetRecord | None:
        record: SubnetRecord | None = None
        problems: tuple[str, ...] = ()
        if update.value is not None:
            try:
                record = decode_subnet(update.value)
            except InvalidInput as error:
                problems = (str(error),)
        self._note(f"subnet {update.key.removeprefix(self._subnets)}", problems)
        return record

    def _note(self, subject: str, problems: tuple[str, ...]) -> None:
        if not problems:
            self._conditions.clear("resource-invalid", subject)
        elif self._conditions.set("resource-invalid", subject, "; ".join(problems)):
            log.warning("resource is invalid", resource=subject, problems=problems)
