"""The Calico resources that describe a lab: pools, nodes, BGP, the open profile and workload endpoints. Pure.

Resources are plain documents here, as in a file for ``calico apply``; they become typed where they are written.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from calico.lab.addressing import HostPlan, Layout, WorkloadPlan
from calico.model.names import WorkloadEndpointIdentifiers

__all__ = ["CLOUD_FELIX", "CLUSTER_ID", "endpoint_document", "endpoint_name", "lab_documents"]

CLUSTER_ID = "244.0.0.1"
_API_VERSION = "projectcalico.org/v3"
_REFLECTOR = "route-reflector"

Document = dict[str, Any]

CLOUD_FELIX = {"interfacePrefix": "cali,tap", "endpointReportingEnabled": True, "workloadSourceSpoofing": "Any"}
"""What instances of a cloud need of every Felix."""


def lab_documents(layout: Layout) -> list[Document]:
    """Everything to write before the first endpoint, in an order in which every reference resolves."""
    topology = layout.topology
    mesh = topology.bgp and not topology.reflectors and not layout.racks
    documents = [
        _resource("BGPConfiguration", "default", {"asNumber": topology.as_number, "nodeToNodeMeshEnabled": mesh}),
        *_pools(layout),
        *(_node(plan, layout) for plan in layout.hosts),
        *_peers(layout),
    ]
    given = {(str(one.get("kind")), (one.get("metadata") or {}).get("name")) for one in topology.resources}
    if topology.openstack is not None and ("FelixConfiguration", "default") not in given:
        # what the driver would write a little later, for which every Felix would start once more
        documents.append(_resource("FelixConfiguration", "default", dict(CLOUD_FELIX)))
    if any("lab-open" in workload.profiles for workload in topology.workloads):
        allow = [{"action": "Allow"}]
        documents.append(_resource("Profile", "lab-open", {"ingress": allow, "egress": allow}))
    return documents


def endpoint_name(plan: WorkloadPlan) -> str:
    """The name of a workload's endpoint resource."""
    workload = plan.workload
    parts = {"pod": workload.name} if workload.orchestrator == "k8s" else {"container_id": workload.name}
    return WorkloadEndpointIdentifiers(
        node=workload.host, orchestrator=workload.orchestrator, endpoint="eth0", **parts
    ).name()


def endpoint_document(plan: WorkloadPlan) -> Document:
    """The WorkloadEndpoint an orchestrator would write for a workload."""
    workload = plan.workload
    spec: Document = {
        "node": workload.host,
        "orchestrator": workload.orchestrator,
        "endpoint": "eth0",
        "containerID": workload.name,
        "interfaceName": plan.interface,
        "mac": plan.mac,
        "profiles": list(workload.profiles),
        "ipNetworks": [f"{a}/{ipaddress.ip_address(a).max_prefixlen}" for a in plan.addresses],
    }
    if workload.orchestrator == "k8s":
        spec["pod"] = workload.name
    if workload.ports:
        spec["ports"] = [{"name": p.name, "protocol": p.protocol, "port": p.port} for p in workload.ports]
    metadata = {"name": endpoint_name(plan), "namespace": workload.namespace, "labels": dict(workload.labels)}
    return {"apiVersion": _API_VERSION, "kind": "WorkloadEndpoint", "metadata": metadata, "spec": spec}


def _pools(layout: Layout) -> list[Document]:
    documents = []
    for number, pool in enumerate(layout.topology.pools):
        version = ipaddress.ip_network(pool.cidr).version
        spec = {
            "cidr": pool.cidr,
            "blockSize": pool.block_size or (26 if version == 4 else 122),
            "ipipMode": "Never",
            "vxlanMode": pool.vxlan_mode,
            "natOutgoing": False,
            "nodeSelector": "all()",
        }
        if pool.allowed_uses:
            spec["allowedUses"] = list(pool.allowed_uses)
        documents.append(_resource("IPPool", pool.name or f"lab-pool-{number}", spec))
    return documents


def _node(plan: HostPlan, layout: Layout) -> Document:
    bgp: Document = {"ipv4Address": plan.uplink.ip4, "ipv6Address": plan.uplink.ip6}
    if plan.as_number != layout.topology.as_number:
        bgp["asNumber"] = plan.as_number
    labels = {"kubernetes.io/hostname": plan.host.name, **plan.host.labels}
    if plan.host.reflector:
        bgp["routeReflectorClusterID"] = CLUSTER_ID
        labels[_REFLECTOR] = "true"
    if plan.host.rack:
        labels["rack"] = plan.host.rack
    addresses = [{"address": a, "type": "InternalIP"} for a in (plan.uplink.address4, plan.uplink.address6)]
    return _resource("Node", plan.host.name, {"bgp": bgp, "addresses": addresses}, labels)


def _peers(layout: Layout) -> list[Document]:
    """Peerings with the routers of the lab, and of clients with reflectors.

    Towards a router on the hosts' own segment the next hop is kept: it can reach every host itself, and must not
    send a workload's traffic through whichever host re-advertised the route.
    """
    documents: list[Document] = []
    if not layout.topology.bgp:
        return documents
    if layout.racks:
        for rack in layout.racks:
            selector = f"rack == '{rack.name}'"
            documents += _router_peers(
                f"tor-{rack.name}", selector, rack.inside.address4, rack.inside.address6, rack.as_number
            )
        return documents
    router = layout.gateway
    if layout.topology.reflectors:
        spec = {"nodeSelector": "all()", "peerSelector": f"has({_REFLECTOR})"}
        documents.append(_resource("BGPPeer", "reflectors", spec))
    selector = f"has({_REFLECTOR})" if layout.topology.reflectors else ""
    return documents + _router_peers(
        "router", selector, router.address4, router.address6, layout.topology.fabric.router_as
    )


def _router_peers(name: str, selector: str, address4: str, address6: str, as_number: int) -> list[Document]:
    documents = []
    for version, address in ((4, address4), (6, address6)):
        spec: Document = {"peerIP": address, "asNumber": as_number, "keepOriginalNextHop": True}
        if selector:
            spec["nodeSelector"] = selector
        documents.append(_resource("BGPPeer", f"{name}-v{version}", spec))
    return documents


def _resource(kind: str, name: str, spec: Document, labels: dict[str, str] | None = None) -> Document:
    metadata: Document = {"name": name}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": _API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}
