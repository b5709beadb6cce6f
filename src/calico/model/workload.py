"""WorkloadEndpoint: one interface of a workload on a host."""

from __future__ import annotations

from msgspec import field

from calico.model.meta import Model, Resource
from calico.model.qos import QoSControls

__all__ = ["IPNAT", "EndpointPort", "WorkloadEndpoint", "WorkloadEndpointSpec"]


class EndpointPort(Model, frozen=True, kw_only=True):
    """A named (and/or host-mapped) port of an endpoint; ``protocol`` as in JSON."""

    name: str = ""
    protocol: int | str = "TCP"
    port: int = 0
    host_port: int = 0
    host_ip: str = field(default="", name="hostIP")


class IPNAT(Model, frozen=True, kw_only=True):
    """A floating address mapped one to one."""

    internal_ip: str = field(default="", name="internalIP")
    external_ip: str = field(default="", name="externalIP")


class WorkloadEndpointSpec(Model, frozen=True, kw_only=True):
    """Where the endpoint is, what addresses it owns, and how it is wired."""

    orchestrator: str = ""
    workload: str = ""
    node: str = ""
    container_id: str = field(default="", name="containerID")
    pod: str = ""
    endpoint: str = ""
    service_account_name: str = ""
    ip_networks: tuple[str, ...] = ()
    ip_nats: tuple[IPNAT, ...] = field(default=(), name="ipNATs")
    ipv4_gateway: str = field(default="", name="ipv4Gateway")
    ipv6_gateway: str = field(default="", name="ipv6Gateway")
    profiles: tuple[str, ...] = ()
    interface_name: str = ""
    mac: str = ""
    ports: tuple[EndpointPort, ...] = ()
    allow_spoofed_source_prefixes: tuple[str, ...] = ()
    qos_controls: QoSControls | None = None
    type: str = ""


class WorkloadEndpoint(Resource, frozen=True, kw_only=True):
    """One interface of one workload. Its name encodes node, orchestrator, workload and endpoint."""

    spec: WorkloadEndpointSpec = WorkloadEndpointSpec()
