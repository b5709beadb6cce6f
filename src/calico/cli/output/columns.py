"""What ``calico get`` shows of each kind: column title and how it is read off a resource (titles as calicoctl's)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from calico.model.kubernetes.types import LabelSelector
from calico.model.meta import Resource

__all__ = ["columns_of"]

Getter = Callable[[Any], object]
Columns = tuple[tuple[str, Getter], ...]


def _joined(values: object) -> str:
    return ",".join(str(value) for value in values) if isinstance(values, tuple | list) else str(values)


def _selected_labels(selector: LabelSelector) -> str:
    """As ``kubectl`` shows it: ``app=web,tier in (a,b),!old``."""
    terms = [f"{key}={value}" for key, value in selector.match_labels.items()]
    for expression in selector.match_expressions:
        values = f"({','.join(expression.values)})"
        texts = {"In": f"{expression.key} in {values}", "NotIn": f"{expression.key} notin {values}"}
        bare = {"Exists": expression.key, "DoesNotExist": f"!{expression.key}"}
        terms.append((texts | bare).get(expression.operator, f"{expression.key} {expression.operator} {values}"))
    return ",".join(terms) or "<all>"


_NAME: Columns = (("NAME", lambda r: r.metadata.name),)
_TIER: Columns = (("TIER", lambda r: r.spec.tier or "default"),)
_POLICY_WIDE: Columns = (
    ("ORDER", lambda r: "" if r.spec.order is None else f"{r.spec.order:g}"),
    ("SELECTOR", lambda r: r.spec.selector or "all()"),
)
_STAGED: Columns = (("STAGEDACTION", lambda r: r.spec.staged_action or "Set"),)
_NETS: Columns = (("NETS", lambda r: _joined(r.spec.nets)),)

_ALLOCATION: Columns = (
    ("STRICTAFFINITY", lambda r: r.spec.strict_affinity),
    ("AUTOALLOCATEBLOCKS", lambda r: r.spec.auto_allocate_blocks),
)

_DEFAULT: dict[str, Columns] = {
    "BGPConfiguration": (
        *_NAME,
        ("LOGSEVERITY", lambda r: r.spec.log_severity_screen),
        ("MESHENABLED", lambda r: "" if r.spec.node_to_node_mesh_enabled is None else r.spec.node_to_node_mesh_enabled),
        ("ASNUMBER", lambda r: "" if r.spec.as_number is None else r.spec.as_number),
    ),
    "BGPFilter": (
        *_NAME,
        ("NUMEXPORTV4", lambda r: len(r.spec.export_v4)),
        ("NUMIMPORTV4", lambda r: len(r.spec.import_v4)),
        ("NUMEXPORTV6", lambda r: len(r.spec.export_v6)),
        ("NUMIMPORTV6", lambda r: len(r.spec.import_v6)),
    ),
    "BGPPeer": (
        *_NAME,
        ("PEERIP", lambda r: r.spec.peer_ip or r.spec.peer_selector),
        ("NODE", lambda r: r.spec.node or r.spec.node_selector or "(global)"),
        ("ASN", lambda r: r.spec.as_number or ""),
    ),
    "CalicoNodeStatus": (*_NAME, ("NODE", lambda r: r.spec.node)),
    "ClusterInformation": (
        *_NAME,
        ("CLUSTERGUID", lambda r: r.spec.cluster_guid),
        ("CLUSTERTYPE", lambda r: r.spec.cluster_type),
        ("CALICOVERSION", lambda r: r.spec.calico_version),
        ("DATASTOREREADY", lambda r: r.spec.datastore_ready),
    ),
    "GlobalNetworkPolicy": (*_NAME, *_TIER),
    "HostEndpoint": (*_NAME, ("NODE", lambda r: r.spec.node)),
    "BlockAffinity": (
        *_NAME,
        ("CIDR", lambda r: r.spec.cidr),
        ("NODE", lambda r: r.spec.node),
        ("STATE", lambda r: r.spec.state or "confirmed"),
    ),
    "IPAMConfiguration": (*_NAME, *_ALLOCATION),
    "IPPool": (*_NAME, ("CIDR", lambda r: r.spec.cidr), ("SELECTOR", lambda r: r.spec.node_selector)),
    "NetworkPolicy": (*_NAME, *_TIER),
    "StagedGlobalNetworkPolicy": (*_NAME, *_TIER),
    "StagedNetworkPolicy": (*_NAME, *_TIER),
    "Tier": (*_NAME, ("ORDER", lambda r: "" if r.spec.order is None else f"{r.spec.order:g}")),
    "WorkloadEndpoint": (
        ("WORKLOAD", lambda r: r.spec.pod or r.spec.workload or r.spec.container_id),
        ("NODE", lambda r: r.spec.node),
        ("NETWORKS", lambda r: _joined(r.spec.ip_networks)),
        ("INTERFACE", lambda r: r.spec.interface_name),
    ),
}
_WIDE: dict[str, Columns] = {
    "CalicoNodeStatus": (
        *_NAME,
        ("NODE", lambda r: r.spec.node),
        ("CLASSES", lambda r: _joined(r.spec.classes)),
    ),
    "GlobalNetworkPolicy": (*_NAME, *_TIER, *_POLICY_WIDE),
    "GlobalNetworkSet": (*_NAME, *_NETS),
    "HostEndpoint": (
        *_NAME,
        ("NODE", lambda r: r.spec.node),
        ("INTERFACE", lambda r: r.spec.interface_name),
        ("IPS", lambda r: _joined(r.spec.expected_ips)),
        ("PROFILES", lambda r: _joined(r.spec.profiles)),
    ),
    "IPPool": (
        *_NAME,
        ("CIDR", lambda r: r.spec.cidr),
        ("NAT", lambda r: r.spec.nat_outgoing),
        ("IPIPMODE", lambda r: r.spec.ipip_mode or "Never"),
        ("VXLANMODE", lambda r: r.spec.vxlan_mode or "Never"),
        ("DISABLED", lambda r: r.spec.disabled),
        ("DISABLEBGPEXPORT", lambda r: r.spec.disable_bgp_export),
        ("SELECTOR", lambda r: r.spec.node_selector),
        ("ASSIGNMENTMODE", lambda r: r.spec.assignment_mode or "Automatic"),
    ),
    "IPAMConfiguration": (*_NAME, *_ALLOCATION, ("MAXBLOCKSPERHOST", lambda r: r.spec.max_blocks_per_host)),
    "IPReservation": (*_NAME, ("CIDRS", lambda r: _joined(r.spec.reserved_cidrs))),
    "NetworkPolicy": (*_NAME, *_TIER, *_POLICY_WIDE),
    "NetworkSet": (*_NAME, *_NETS),
    "Node": (
        *_NAME,
        ("ASN", lambda r: (r.spec.bgp.as_number or "(default)") if r.spec.bgp else ""),
        ("IPV4", lambda r: r.spec.bgp.ipv4_address if r.spec.bgp else ""),
        ("IPV6", lambda r: r.spec.bgp.ipv6_address if r.spec.bgp else ""),
    ),
    "Profile": (*_NAME, ("LABELS", lambda r: ",".join(f"{k}={v}" for k, v in r.spec.labels_to_apply.items()))),
    "StagedGlobalNetworkPolicy": (*_NAME, *_TIER, *_POLICY_WIDE, *_STAGED),
    "StagedKubernetesNetworkPolicy": (
        *_NAME,
        ("PODSELECTOR", lambda r: _selected_labels(r.spec.pod_selector)),
        *_STAGED,
    ),
    "StagedNetworkPolicy": (*_NAME, *_TIER, *_POLICY_WIDE, *_STAGED),
    "WorkloadEndpoint": (
        *_NAME,
        *_DEFAULT["WorkloadEndpoint"],
        ("PROFILES", lambda r: _joined(r.spec.profiles)),
        ("NATS", lambda r: ",".join(f"{n.external_ip}->{n.internal_ip}" for n in r.spec.ip_nats)),
    ),
}


def columns_of(kind: str, *, wide: bool = False, namespace: bool = False) -> Columns:
    """Columns for a kind; ``namespace`` adds the leading NAMESPACE column."""
    columns = (_WIDE.get(kind) if wide else None) or _DEFAULT.get(kind) or _NAME
    lead: Columns = (("NAMESPACE", _namespace),) if namespace else ()
    return lead + columns


def _namespace(resource: Resource) -> object:
    return resource.metadata.namespace
