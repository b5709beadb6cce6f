"""What writers fill in before storing a resource (spec §15.1, §16); identity and time are the datastore's business."""

from __future__ import annotations

from typing import TypeVar

from msgspec.structs import replace

from calico.lib import packed
from calico.model.bgp import BGPConfiguration, BGPConfigurationSpec
from calico.model.felixconfig import FelixConfiguration, FelixConfigurationSpec
from calico.model.ippool import IPPool, IPPoolSpec
from calico.model.kubecontrollers import (
    KubeControllersConfiguration,
    KubeControllersConfigurationSpec,
    LoadBalancerControllerConfig,
    MigrationControllerConfig,
)
from calico.model.meta import Resource
from calico.model.policy import GlobalNetworkPolicy, NetworkPolicy, NetworkPolicySpec, Tier
from calico.model.staged import StagedGlobalNetworkPolicy, StagedKubernetesNetworkPolicy, StagedNetworkPolicy

__all__ = ["DEFAULT_BLOCK_SIZE", "DEFAULT_TIER_ORDER", "PREDEFINED_TIERS", "with_defaults"]

DEFAULT_TIER_ORDER = 1000000.0
PREDEFINED_TIERS = {
    "default": (DEFAULT_TIER_ORDER, "Deny"),
    "kube-admin": (1000.0, "Pass"),
    "kube-baseline": (10000000.0, "Pass"),
}
"""Order and default action that tiers of these names must have."""

DEFAULT_BLOCK_SIZE = {4: 26, 6: 122}

R = TypeVar("R", bound=Resource)
P = TypeVar("P", bound=NetworkPolicySpec)


def with_defaults(resource: R) -> R:
    """The resource as it is to be stored; the same object when nothing was missing."""
    match resource:
        case NetworkPolicy() | GlobalNetworkPolicy():
            return _with_spec(resource, _policy(resource.spec))
        case StagedNetworkPolicy() | StagedGlobalNetworkPolicy():
            staged = resource.spec
            if staged.staged_action == "Delete":  # the removal of a policy is for no direction
                return _with_spec(resource, replace(staged, tier=staged.tier or "default", types=()))
            return _with_spec(resource, replace(_policy(staged), staged_action=staged.staged_action or "Set"))
        case StagedKubernetesNetworkPolicy():
            action = resource.spec.staged_action or "Set"
            types = () if action == "Delete" else resource.spec.policy_types
            return _with_spec(resource, replace(resource.spec, staged_action=action, policy_types=types))
        case Tier():
            order, action = PREDEFINED_TIERS.get(resource.metadata.name, (DEFAULT_TIER_ORDER, "Deny"))
            spec = resource.spec
            given = order if spec.order is None else spec.order
            return _with_spec(resource, replace(spec, order=given, default_action=spec.default_action or action))
        case IPPool():
            return _with_spec(resource, _pool(resource.spec))
        case BGPConfiguration():
            return _with_spec(resource, _bgp(resource.spec))
        case FelixConfiguration():
            return _with_spec(resource, _felix(resource.spec))
        case KubeControllersConfiguration():
            return _with_spec(resource, _controllers(resource.spec))
        case _:
            return resource


def _with_spec(resource: R, spec: object) -> R:
    return resource if spec == getattr(resource, "spec", None) else replace(resource, spec=spec)


def _policy(spec: P) -> P:
    """Without rules a policy is for ingress: selecting workloads without allowing anything isolates them."""
    types = spec.types
    if not types:
        types = (("Ingress",) if spec.ingress or not spec.egress else ()) + (("Egress",) if spec.egress else ())
    return replace(spec, tier=spec.tier or "default", types=types)


def _pool(spec: IPPoolSpec) -> IPPoolSpec:
    """A pool for chosen namespaces only cannot serve tunnels, so that use is left out of its default."""
    return replace(
        spec,
        cidr=_canonical(spec.cidr),
        block_size=spec.block_size or DEFAULT_BLOCK_SIZE[6 if ":" in spec.cidr else 4],
        ipip_mode=spec.ipip_mode or "Never",
        vxlan_mode=spec.vxlan_mode or "Never",
        node_selector=spec.node_selector or "all()",
        allowed_uses=spec.allowed_uses or (("Workload",) if spec.namespace_selector else ("Workload", "Tunnel")),
        assignment_mode=spec.assignment_mode or "Automatic",
    )


def _canonical(cidr: str) -> str:
    """One spelling per network; what is malformed or has host bits stays as it is, for validation to refuse."""
    try:
        return packed.net_str(packed.net(cidr, strict=True)) if "/" in cidr else cidr
    except ValueError:
        return cidr


def _bgp(spec: BGPConfigurationSpec) -> BGPConfigurationSpec:
    return replace(
        spec,
        log_severity_screen=spec.log_severity_screen or "Info",
        service_load_balancer_aggregation=spec.service_load_balancer_aggregation or "Enabled",
    )


def _felix(spec: FelixConfigurationSpec) -> FelixConfigurationSpec:
    """The legacy switch of connect-time load balancing decides its two successors when they are absent."""
    legacy = spec.bpf_connect_time_load_balancing_enabled
    balancing, nat = ("TCP", "Enabled") if legacy is None else ("Enabled" if legacy else "Disabled", "Disabled")
    return replace(
        spec,
        floating_ips=spec.floating_ips or "Disabled",
        bpf_connect_time_load_balancing=spec.bpf_connect_time_load_balancing or balancing,
        bpf_host_networked_nat_without_ctlb=spec.bpf_host_networked_nat_without_ctlb or nat,
        nftables_mode=spec.nftables_mode or "Auto",
        nftables_flow_table_offload=spec.nftables_flow_table_offload or "Disabled",
    )


def _controllers(spec: KubeControllersConfigurationSpec) -> KubeControllersConfigurationSpec:
    """Only controllers that are there at all get their defaults: an absent one is one that does not run."""
    controllers = spec.controllers
    balancer, migration = controllers.load_balancer, controllers.migration
    if balancer is not None and not balancer.assign_ips:
        balancer = LoadBalancerControllerConfig(assign_ips="AllServices")
    if migration is not None and not migration.policy_name_migrator:
        migration = MigrationControllerConfig(policy_name_migrator="Enabled")
    return replace(
        spec,
        health_checks=spec.health_checks or "Enabled",
        controllers=replace(controllers, load_balancer=balancer, migration=migration),
    )
