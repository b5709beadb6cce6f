"""LiveMigration: a workload is on its way from one host to another (spec §16.3)."""

from __future__ import annotations

from msgspec import field

from calico.model.meta import Model, Resource

__all__ = [
    "LiveMigration",
    "LiveMigrationSource",
    "LiveMigrationSpec",
    "LiveMigrationTarget",
    "WorkloadEndpointIdentifier",
    "WorkloadIdentifier",
]


class WorkloadIdentifier(Model, frozen=True, kw_only=True):
    """All endpoints of one workload on a host; ``workload_id`` is ``<namespace>/<workload>``."""

    hostname: str = ""
    orchestrator_id: str = field(default="", name="orchestratorID")
    workload_id: str = field(default="", name="workloadID")


class WorkloadEndpointIdentifier(Model, frozen=True, kw_only=True):
    """One endpoint of a workload on a host."""

    hostname: str = ""
    orchestrator_id: str = field(default="", name="orchestratorID")
    workload_id: str = field(default="", name="workloadID")
    endpoint_id: str = field(default="", name="endpointID")


class LiveMigrationSource(Model, frozen=True, kw_only=True):
    """Where the workload leaves."""

    workload: WorkloadIdentifier | None = None
    workload_endpoint: WorkloadEndpointIdentifier | None = None


class LiveMigrationTarget(Model, frozen=True, kw_only=True):
    """Where it arrives: endpoints by their labels, or one by name."""

    selector: str | None = None
    workload_endpoint: WorkloadEndpointIdentifier | None = None


class LiveMigrationSpec(Model, frozen=True, kw_only=True):
    """From where to where."""

    source: LiveMigrationSource | None = None
    target: LiveMigrationTarget | None = None


class LiveMigration(Resource, frozen=True, kw_only=True):
    """One migration, named as the endpoint at its target."""

    spec: LiveMigrationSpec = LiveMigrationSpec()
