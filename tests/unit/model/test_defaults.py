"""What writers fill in."""

from __future__ import annotations

import pytest

from calico.model.bgp import BGPConfiguration
from calico.model.defaults import with_defaults
from calico.model.felixconfig import FelixConfiguration, FelixConfigurationSpec
from calico.model.ippool import IPPool, IPPoolSpec
from calico.model.meta import Metadata
from calico.model.node import Node
from calico.model.policy import GlobalNetworkPolicy, GlobalNetworkPolicySpec, Rule, Tier, TierSpec
from calico.model.validation import validate

ALLOW = (Rule(action="Allow"),)


@pytest.mark.parametrize(
    ("ingress", "egress", "types"),
    [
        ((), (), ("Ingress",)),
        (ALLOW, (), ("Ingress",)),
        ((), ALLOW, ("Egress",)),
        (ALLOW, ALLOW, ("Ingress", "Egress")),
    ],
)
def test_policy_types_follow_the_rules(
    ingress: tuple[Rule, ...], egress: tuple[Rule, ...], types: tuple[str, ...]
) -> None:
    policy = with_defaults(GlobalNetworkPolicy(spec=GlobalNetworkPolicySpec(ingress=ingress, egress=egress)))
    assert (policy.spec.types, policy.spec.tier) == (types, "default")


def test_given_types_stay() -> None:
    spec = GlobalNetworkPolicySpec(types=("Egress",), tier="t", ingress=ALLOW)
    policy = GlobalNetworkPolicy(spec=spec)
    assert with_defaults(policy) is policy


@pytest.mark.parametrize(
    ("name", "order", "action"),
    [("default", 1e6, "Deny"), ("mine", 1e6, "Deny"), ("kube-admin", 1e3, "Pass"), ("kube-baseline", 1e7, "Pass")],
)
def test_tiers_get_order_and_action_and_are_then_valid(name: str, order: float, action: str) -> None:
    tier = with_defaults(Tier(metadata=Metadata(name=name)))
    assert tier.spec == TierSpec(order=order, default_action=action)
    assert validate(tier) == ()


@pytest.mark.parametrize(
    ("cidr", "canonical", "block_size"),
    [("10.65.0.0/16", "10.65.0.0/16", 26), ("FD00:0::/64", "fd00::/64", 122), ("10.0.0.1/16", "10.0.0.1/16", 26)],
)
def test_pools_are_completed(cidr: str, canonical: str, block_size: int) -> None:
    pool = with_defaults(IPPool(spec=IPPoolSpec(cidr=cidr)))
    assert pool.spec == IPPoolSpec(
        cidr=canonical,
        block_size=block_size,
        ipip_mode="Never",
        vxlan_mode="Never",
        node_selector="all()",
        allowed_uses=("Workload", "Tunnel"),
        assignment_mode="Automatic",
    )


def test_a_pool_for_chosen_namespaces_is_valid_with_its_defaults() -> None:
    pool = IPPool(metadata=Metadata(name="p"), spec=IPPoolSpec(cidr="10.0.0.0/16", namespace_selector="has(a)"))
    assert validate(with_defaults(pool)) == ()


def test_the_legacy_switch_of_load_balancing_decides_its_successors() -> None:
    def balancing(legacy: bool | None) -> tuple[str | None, str | None]:
        spec = FelixConfigurationSpec(bpf_connect_time_load_balancing_enabled=legacy)
        filled = with_defaults(FelixConfiguration(spec=spec)).spec
        return filled.bpf_connect_time_load_balancing, filled.bpf_host_networked_nat_without_ctlb

    assert balancing(None) == ("TCP", "Enabled")
    assert balancing(True) == ("Enabled", "Disabled")
    assert balancing(False) == ("Disabled", "Disabled")


def test_bgp_configurations_get_their_stored_defaults() -> None:
    spec = with_defaults(BGPConfiguration()).spec
    assert (spec.log_severity_screen, spec.service_load_balancer_aggregation) == ("Info", "Enabled")


def test_defaults_are_filled_once() -> None:
    for resource in (Tier(), IPPool(), BGPConfiguration(), FelixConfiguration(), GlobalNetworkPolicy(), Node()):
        once = with_defaults(resource)
        assert with_defaults(once) is once
