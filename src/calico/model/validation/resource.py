"""Which checks a kind gets."""

from __future__ import annotations

from calico.model.bgp import BGPConfiguration, BGPPeer
from calico.model.bgpfilter import BGPFilter
from calico.model.felixconfig import FelixConfiguration
from calico.model.hostendpoint import HostEndpoint
from calico.model.ipam import BlockAffinity, IPAMConfig, IPAMConfiguration, IPReservation
from calico.model.ippool import IPPool
from calico.model.kubecontrollers import KubeControllersConfiguration
from calico.model.livemigration import LiveMigration
from calico.model.meta import Resource
from calico.model.node import Node
from calico.model.nodestatus import CalicoNodeStatus
from calico.model.policy import GlobalNetworkPolicy, GlobalNetworkSet, NetworkPolicy, NetworkSet, Profile, Tier
from calico.model.staged import StagedGlobalNetworkPolicy, StagedKubernetesNetworkPolicy, StagedNetworkPolicy
from calico.model.validation.bgp import check_bgp_configuration, check_node_bgp_configuration, check_peer
from calico.model.validation.bgpfilter import check_bgp_filter
from calico.model.validation.conditions import check_conditions
from calico.model.validation.felix import check_felix, check_felix_scope
from calico.model.validation.hosts import check_endpoint_name, check_endpoint_spec, check_host_endpoint, check_node
from calico.model.validation.ipam import check_affinity, check_ipam_configuration, check_reservation
from calico.model.validation.kubecontrollers import check_kube_controllers
from calico.model.validation.livemigration import check_live_migration
from calico.model.validation.metadata import check_metadata
from calico.model.validation.nodestatus import check_node_status, check_node_status_spec
from calico.model.validation.policies import (
    check_global_policy,
    check_net_set,
    check_policy,
    check_profile,
    check_tier,
)
from calico.model.validation.pools import check_pool
from calico.model.validation.report import FieldError, Report
from calico.model.validation.staged import check_staged_kubernetes_policy, check_staged_policy
from calico.model.workload import WorkloadEndpoint

__all__ = ["validate"]


def validate(resource: Resource) -> tuple[FieldError, ...]:
    """All faults of a resource, in the order of its fields; empty when it may be stored."""
    report = Report()
    check_metadata(report, type(resource).__name__, resource.metadata)
    _check_spec(report, resource)
    return tuple(report.errors)


def _check_spec(report: Report, resource: Resource) -> None:
    match resource:
        case NetworkPolicy():
            check_policy(report, resource.spec)
        case GlobalNetworkPolicy():
            check_global_policy(report, resource.spec)
        case StagedNetworkPolicy() | StagedGlobalNetworkPolicy():
            check_staged_policy(report, resource.spec)
        case StagedKubernetesNetworkPolicy():
            check_staged_kubernetes_policy(report, resource.spec)
        case Tier():
            check_tier(report, resource)
            check_conditions(report, resource.status)
        case Profile():
            check_profile(report, resource.spec)
        case NetworkSet() | GlobalNetworkSet():
            check_net_set(report, resource.spec, resource.metadata.labels)
        case IPPool():
            check_pool(report, resource.spec)
            check_conditions(report, resource.status)
        case IPReservation():
            check_reservation(report, resource.spec)
        case IPAMConfiguration() | IPAMConfig():
            check_ipam_configuration(report, resource.spec)
        case BlockAffinity():
            check_affinity(report, resource.spec)
        case LiveMigration():
            check_live_migration(report, resource.spec)
        case KubeControllersConfiguration():
            check_kube_controllers(report, resource)
        case BGPConfiguration():
            check_bgp_configuration(report, resource.spec)
            if resource.metadata.name.startswith("node."):
                check_node_bgp_configuration(report, resource.spec)
        case BGPPeer():
            check_peer(report, resource.spec)
        case BGPFilter():
            check_bgp_filter(report, resource.spec)
        case CalicoNodeStatus():
            check_node_status_spec(report, resource.spec)
            check_node_status(report, resource.status)
        case Node():
            check_node(report, resource)
        case WorkloadEndpoint():
            check_endpoint_name(report, resource)
            check_endpoint_spec(report, resource.spec)
        case HostEndpoint():
            check_host_endpoint(report, resource.spec)
        case FelixConfiguration():
            check_felix(report, resource.spec)
            check_felix_scope(report, resource.metadata.name, resource.spec)
