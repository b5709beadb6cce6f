"""What a host is told, one sentence of the specification at a time."""

from __future__ import annotations

from typing import Any

import pytest

from calico.calc.compile_rules import DENY_ALL
from calico.calc.graph import Graph
from calico.calc.messages import (
    ActiveRule,
    EndpointId,
    EndpointRemove,
    EndpointUpdate,
    HostEndpointRemove,
    HostEndpointUpdate,
    InSync,
    IPSetDelta,
    IPSetRemove,
    IPSetUpdate,
    Message,
    PolicyRemove,
    PolicyUpdate,
    ProblemUpdate,
    ProfileRemove,
    ProfileUpdate,
    RuleSide,
    TierPolicies,
)
from calico.calc.services import ServiceEndpoints
from calico.calc.spec import DataplaneState
from calico.lib.packed import addr_bytes, addr_port, net
from calico.model.hostendpoint import HostEndpoint, HostEndpointSpec
from calico.model.keys import ResourceKey
from calico.model.kubernetes.types import (
    LabelSelector,
    LabelSelectorRequirement,
    PolicyIngressRule,
    PolicyPeer,
    PolicyPort,
)
from calico.model.meta import Metadata
from calico.model.policy import (
    EntityRule,
    GlobalNetworkPolicy,
    GlobalNetworkPolicySpec,
    GlobalNetworkSet,
    NetworkPolicy,
    NetworkPolicySpec,
    NetworkSet,
    NetworkSetSpec,
    Profile,
    ProfileSpec,
    Rule,
    ServiceAccountMatch,
    ServiceMatch,
    Tier,
    TierSpec,
)
from calico.model.staged import (
    StagedGlobalNetworkPolicy,
    StagedGlobalNetworkPolicySpec,
    StagedKubernetesNetworkPolicy,
    StagedKubernetesNetworkPolicySpec,
    StagedNetworkPolicy,
    StagedNetworkPolicySpec,
)
from calico.model.workload import EndpointPort, WorkloadEndpoint, WorkloadEndpointSpec


class Host:
    """A graph and what it told so far."""

    def __init__(self) -> None:
        self.graph = Graph("here")
        self.state = DataplaneState()
        self.graph.on_in_sync()
        self.flush()

    def flush(self) -> list[Message]:
        messages = self.graph.flush()
        self.state.replay(messages)
        return messages

    def endpoint(self, pod: str, address: str, node: str = "here", *, labels: Any = None, **spec: Any) -> ResourceKey:
        key = ResourceKey("WorkloadEndpoint", "red", f"{node}-k8s-{pod}-eth0")
        usual = {"node": node, "orchestrator": "k8s", "pod": pod, "endpoint": "eth0", "interface_name": f"cali{pod}"}
        endpoint_spec = WorkloadEndpointSpec(**{**usual, "ip_networks": (address,), **spec})
        self.graph.on_resource(key, WorkloadEndpoint(metadata=Metadata(labels=labels or {}), spec=endpoint_spec))
        return key

    def policy(self, name: str, **spec: Any) -> ResourceKey:
        key = ResourceKey("GlobalNetworkPolicy", "", name)
        self.graph.on_resource(key, GlobalNetworkPolicy(spec=GlobalNetworkPolicySpec(**spec)))
        return key

    def staged(self, name: str, **spec: Any) -> ResourceKey:
        key = ResourceKey("StagedGlobalNetworkPolicy", "", name)
        value = StagedGlobalNetworkPolicy(spec=StagedGlobalNetworkPolicySpec(**spec))
        self.graph.on_resource(key, value)
        return key

    def tier(self, name: str, **spec: Any) -> None:
        self.graph.on_resource(ResourceKey("Tier", "", name), Tier(spec=TierSpec(**spec)))

    def profile(self, name: str, **spec: Any) -> None:
        self.graph.on_resource(ResourceKey("Profile", "", name), Profile(spec=ProfileSpec(**spec)))

    def global_set(self, name: str, labels: dict[str, str], *nets: str) -> ResourceKey:
        key = ResourceKey("GlobalNetworkSet", "", name)
        value = GlobalNetworkSet(metadata=Metadata(labels=labels), spec=NetworkSetSpec(nets=nets))
        self.graph.on_resource(key, value)
        return key

    def tiers(self) -> list[tuple[str, str, list[str]]]:
        (endpoint,) = self.state.endpoints.values()
        return [(tier.name, tier.default_action, [key.name for key in tier.ingress]) for tier in endpoint.tiers]

    def only_set(self) -> frozenset[bytes]:
        (only,) = self.state.ip_sets.values()
        return only.members


def allow_from(selector: str, **more: Any) -> dict[str, Any]:
    return {"types": ("Ingress",), "ingress": (Rule(action="Allow", source=EntityRule(selector=selector), **more),)}


def test_nothing_is_said_before_in_sync_and_in_sync_is_said_once() -> None:
    graph = Graph("here")
    assert graph.flush() == []
    graph.on_in_sync()
    assert graph.flush() == [InSync()]
    graph.on_in_sync()
    assert graph.flush() == []


def test_policies_are_ordered_by_number_then_missing_order_then_name() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1")
    for name, order in (("z", 1.0), ("b", None), ("a", None), ("y", 1.0), ("x", 2.0), ("w", -1.0)):
        host.policy(name, order=order)
    host.flush()
    assert host.tiers() == [("default", "deny", ["w", "y", "z", "x", "a", "b"])]


def test_tiers_are_ordered_by_number_then_missing_order_then_missing_tier() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1")
    host.tier("second", order=2.0, default_action="Pass")
    host.tier("first", order=1.0)
    host.tier("unordered", default_action="Deny")
    for tier in ("absent", "unordered", "second", "first"):
        host.policy(f"{tier}.p", tier=tier)
    host.flush()
    assert [(name, end) for name, end, _ in host.tiers()] == [
        ("first", "deny"),
        ("second", "pass"),
        ("unordered", "deny"),
        ("absent", "deny"),
    ]


def test_tiers_that_appear_move_and_vanish_reorder_endpoints_at_once() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1")
    host.policy("one.p", tier="one")
    host.policy("two.p", tier="two")
    host.flush()
    host.tier("two", order=1.0, default_action="Pass")
    host.flush()
    assert [(name, end) for name, end, _ in host.tiers()] == [("two", "pass"), ("one", "deny")]
    host.graph.on_resource(ResourceKey("Tier", "", "two"), None)
    host.flush()
    assert [(name, end) for name, end, _ in host.tiers()] == [("one", "deny"), ("two", "deny")]


def test_a_policy_that_governs_again_after_governing_nothing_is_sent_again() -> None:
    host = Host()
    key = host.endpoint("p", "10.0.0.1", labels={"a": "x"})
    policy = host.policy("p", selector="a == 'x'")
    host.flush()
    host.graph.on_resource(key, None)
    host.flush()
    assert host.state.policies == {}
    host.endpoint("p", "10.0.0.1", labels={"a": "x"})
    host.flush()
    assert set(host.state.policies) == {policy}


def test_a_policy_counts_in_the_directions_of_its_types_and_in_both_without_any() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1")
    host.policy("both")
    host.policy("in", types=("Ingress",), egress=(Rule(action="Allow"),))
    host.flush()
    (endpoint,) = host.state.endpoints.values()
    assert [key.name for key in endpoint.tiers[0].ingress] == ["both", "in"]
    assert [key.name for key in endpoint.tiers[0].egress] == ["both"]
    assert host.state.policies[ResourceKey("GlobalNetworkPolicy", "", "in")].egress == ()


def test_policies_that_govern_no_local_endpoint_are_not_sent() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1", node="there")
    host.policy("p", **allow_from("all()"))
    assert host.flush() == []


def test_a_missing_profile_denies_everything_and_the_virtual_one_allows_both_ways() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1", profiles=("missing", "projectcalico-default-allow"))
    host.profile("projectcalico-default-allow", ingress=(Rule(action="Deny"),), labels_to_apply={"a": "x"})
    host.policy("p", selector="a == 'x'")
    host.flush()
    assert host.state.policies == {}
    allow = (ActiveRule(action="allow"),)
    missing = (ActiveRule(action="deny", why="missing"),)
    assert host.state.profiles == {
        "missing": ProfileUpdate(name="missing", ingress=missing, egress=missing),
        "projectcalico-default-allow": ProfileUpdate(name="projectcalico-default-allow", ingress=allow, egress=allow),
    }


def test_a_set_holds_addresses_of_all_hosts_and_of_network_sets() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1")
    host.endpoint("q", "10.0.0.2", node="there", labels={"a": "x"})
    host.endpoint("r", "10.0.0.3", node="there", labels={"a": "y"})
    host.global_set("s", {"a": "x"}, "192.0.2.7/24")
    host.policy("p", **allow_from("a == 'x'"))
    host.flush()
    assert host.only_set() == {net("10.0.0.2"), net("192.0.2.0/24")}


def test_a_catch_all_in_a_network_set_is_the_only_member_of_its_family() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1", labels={"a": "x"}, ip_networks=("10.0.0.1", "fd00::1"))
    host.policy("p", **allow_from("a == 'x'"))
    host.flush()
    key = host.global_set("s", {"a": "x"}, "0.0.0.0/0")
    assert host.flush() == [
        IPSetDelta(
            id=next(iter(host.state.ip_sets)),
            added=frozenset({net("0.0.0.0/0")}),
            removed=frozenset({net("10.0.0.1")}),
        )
    ]
    host.graph.on_resource(key, None)
    host.flush()
    assert host.only_set() == {net("10.0.0.1"), net("fd00::1")}


def test_a_change_that_leaves_the_members_alone_says_nothing() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1", labels={"a": "x"})
    host.policy("p", **allow_from("a == 'x'"))
    host.flush()
    host.endpoint("q", "10.0.0.1", node="there", labels={"a": "x", "b": "y"})
    assert host.flush() == []
    host.endpoint("q", "10.0.0.1", node="there", labels={"a": "x"})
    assert host.flush() == []


def test_labels_of_a_profile_select_its_endpoints_and_network_sets_of_the_namespace() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1", profiles=("kns.red",))
    set_key = ResourceKey("NetworkSet", "red", "s")
    host.graph.on_resource(set_key, NetworkSet(spec=NetworkSetSpec(nets=("192.0.2.0/24",))))
    host.policy("p", **allow_from("pcns.team == 'a'"))
    host.flush()
    assert host.only_set() == frozenset()
    host.profile("kns.red", labels_to_apply={"pcns.team": "a"})
    host.flush()
    assert host.only_set() == {net("10.0.0.1"), net("192.0.2.0/24")}


def test_a_global_network_set_cannot_pretend_to_be_in_a_namespace() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1")
    host.global_set("s", {"projectcalico.org/namespace": "red", "pcns.team": "a"}, "192.0.2.0/24")
    host.policy("p", **allow_from("projectcalico.org/namespace == 'red' || has(pcns.team)"))
    host.flush()
    assert host.only_set() == {net("10.0.0.1")}


def test_a_named_port_is_that_of_the_endpoints_with_the_rules_protocol() -> None:
    host = Host()
    ports = (EndpointPort(name="web", port=80), EndpointPort(name="web", protocol="UDP", port=81))
    host.endpoint("p", "10.0.0.1", ports=ports)
    rule = Rule(action="Allow", protocol="TCP", destination=EntityRule(ports=("web",)))
    host.policy("p", types=("Ingress",), ingress=(rule,))
    host.flush()
    assert host.only_set() == {addr_port(addr_bytes("10.0.0.1"), 6, 80)}


def test_a_policy_whose_selector_does_not_parse_governs_nothing_and_is_reported() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1")
    key = host.policy("p", selector="a ==")
    (problem,) = host.flush()[-1:]
    assert isinstance(problem, ProblemUpdate)
    assert (problem.key, problem.problems[0].partition(":")[0]) == (key, "spec.selector")
    assert host.state.policies == {}
    host.policy("p", selector="all()")
    assert host.flush()[-1] == ProblemUpdate(key=key, problems=())


def test_a_selector_cannot_escape_from_its_namespace() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1")
    key = ResourceKey("NetworkPolicy", "blue", "p")
    spec = NetworkPolicySpec(selector="has(a)) || (all()")
    host.graph.on_resource(key, NetworkPolicy(metadata=Metadata(name="p", namespace="blue"), spec=spec))
    host.flush()
    assert host.state.policies == {}
    assert key in host.state.problems


def test_a_malformed_rule_denies_its_direction_and_is_reported_by_the_host_that_uses_it() -> None:
    host = Host()
    rule = Rule(action="Allow", source=EntityRule(nets=("10.0.0.0/8", "10.0.0.0/99")))
    key = host.policy("p", ingress=(rule,), egress=(Rule(action="Allow"),))
    assert host.flush() == []
    host.endpoint("p", "10.0.0.1")
    host.flush()
    assert host.state.policies[key] == PolicyUpdate(
        key=key, tier="default", ingress=DENY_ALL, egress=(ActiveRule(action="allow"),)
    )
    assert host.state.problems[key][0].startswith("spec.ingress[0].source.nets[1]: ")


def test_endpoints_that_claim_one_interface_are_all_absent_until_one_is_left() -> None:
    host = Host()
    first = host.endpoint("p", "10.0.0.1", interface_name="cali1")
    host.flush()
    second = host.endpoint("q", "10.0.0.2", interface_name="cali1")
    assert any(isinstance(message, EndpointRemove) for message in host.flush())
    assert host.state.endpoints == {}
    assert set(host.state.problems) == {first, second}
    host.graph.on_resource(second, None)
    host.flush()
    assert [endpoint.key for endpoint in host.state.endpoints.values()] == [first]
    assert host.state.problems == {}


def test_only_the_host_of_a_malformed_endpoint_reports_it() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.0/30", node="there")
    assert host.flush() == []
    key = host.endpoint("q", "10.0.0.0/30")
    (problem,) = host.flush()
    assert isinstance(problem, ProblemUpdate)
    assert problem.key == key


def test_an_endpoint_that_may_spoof_is_absent_everywhere() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1")
    host.policy("p", **allow_from("has(a)"))
    host.endpoint("q", "10.0.0.2", node="there", labels={"a": "x"}, allow_spoofed_source_prefixes=("10.1.0.0/16",))
    host.flush()
    assert host.only_set() == frozenset()


def test_a_bad_line_in_a_network_set_leaves_the_others_in_force() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1")
    host.policy("p", **allow_from("has(a)"))
    key = host.global_set("s", {"a": "x"}, "10.9.0.0/16", "nonsense")
    host.flush()
    assert host.only_set() == {net("10.9.0.0/16")}
    assert host.state.problems[key][0].startswith("spec.nets[1]: ")


def test_a_renamed_interface_is_one_update() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1")
    host.flush()
    host.endpoint("p", "10.0.0.1", interface_name="cali9")
    (update,) = host.flush()
    assert isinstance(update, EndpointUpdate)
    assert update.interface == "cali9"


def test_a_set_that_goes_out_of_use_and_back_within_a_flush_is_left_alone() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1", labels={"a": "x"})
    host.policy("p", **allow_from("a == 'x'"))
    assert any(isinstance(message, IPSetUpdate) for message in host.flush())
    host.graph.on_resource(ResourceKey("GlobalNetworkPolicy", "", "p"), None)
    host.policy("q", **allow_from("a == 'x'"))
    assert not any(isinstance(message, IPSetUpdate) for message in host.flush())


def test_a_staged_policy_stands_where_the_policy_that_it_would_be_would_stand() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1")
    host.policy("p", order=1.0)
    host.staged("p", order=1.0)
    host.staged("a", order=0.5, tier="early")
    host.policy("z")
    host.flush()
    (endpoint,) = host.state.endpoints.values()
    assert [(tier.name, [f"{key.kind} {key.name}" for key in tier.ingress]) for tier in endpoint.tiers] == [
        ("default", ["GlobalNetworkPolicy p", "StagedGlobalNetworkPolicy p", "GlobalNetworkPolicy z"]),
        ("early", ["StagedGlobalNetworkPolicy a"]),
    ]
    kinds = {f"{key.kind} {key.name}": policy.kind for key, policy in host.state.policies.items()}
    assert kinds["StagedGlobalNetworkPolicy p"] == kinds["StagedGlobalNetworkPolicy a"] == "staged"
    assert kinds["GlobalNetworkPolicy p"] == "normal"


@pytest.mark.parametrize("action", ["Delete", "Learn", "Ignore"])
def test_only_the_staged_action_set_is_programmed(action: str) -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1")
    key = host.staged("p", staged_action="Set")
    host.flush()
    assert set(host.state.policies) == {key}
    host.staged("p", staged_action=action)
    host.flush()
    assert host.state.policies == {}
    assert host.state.problems == {}


def test_a_staged_action_that_nobody_knows_is_named_and_programs_nothing() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1")
    key = host.staged("p", staged_action="Perhaps")
    host.flush()
    assert host.state.policies == {}
    assert host.state.problems[key][0].startswith("spec.stagedAction: ")


def test_a_staged_policy_for_untracked_or_translated_traffic_governs_no_workload() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1")
    host.staged("p", do_not_track=True, apply_on_forward=True)
    host.staged("q", pre_dnat=True, apply_on_forward=True)
    host.flush()
    assert host.state.policies == {}


def test_a_staged_kubernetes_policy_is_staged_as_its_conversion() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1", labels={"projectcalico.org/orchestrator": "k8s", "app": "web"})
    key = ResourceKey("StagedKubernetesNetworkPolicy", "red", "p")
    spec = StagedKubernetesNetworkPolicySpec(
        pod_selector=LabelSelector(match_labels={"app": "web"}),
        ingress=(PolicyIngressRule(ports=(PolicyPort(port=80),)), PolicyIngressRule(from_=(PolicyPeer(),))),
    )
    metadata = Metadata(name="p", namespace="red")
    host.graph.on_resource(key, StagedKubernetesNetworkPolicy(metadata=metadata, spec=spec))
    host.flush()
    allow = ActiveRule(action="allow", protocol=6, dst=RuleSide(ports=((80, 80),)))
    assert host.state.policies == {
        key: PolicyUpdate(key=key, tier="default", kind="staged", ingress=(allow,), egress=())
    }
    assert host.state.problems[key][0].startswith("spec.ingress[1] is left out: ")
    (endpoint,) = host.state.endpoints.values()
    assert endpoint.tiers == (TierPolicies(name="default", default_action="deny", ingress=(key,)),)


def test_a_staged_kubernetes_policy_whose_pods_cannot_be_known_is_named_and_programs_nothing() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1", labels={"projectcalico.org/orchestrator": "k8s"})
    key = ResourceKey("StagedKubernetesNetworkPolicy", "red", "p")
    requirement = LabelSelectorRequirement(key="a", operator="Perhaps")
    spec = StagedKubernetesNetworkPolicySpec(pod_selector=LabelSelector(match_expressions=(requirement,)))
    metadata = Metadata(name="p", namespace="red")
    host.graph.on_resource(key, StagedKubernetesNetworkPolicy(metadata=metadata, spec=spec))
    host.flush()
    assert host.state.policies == {}
    (problem,) = host.state.problems[key]
    assert problem.startswith("spec.podSelector: ")


def test_a_staged_policy_of_a_namespace_is_staged_for_the_endpoints_of_the_namespace() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1")
    keys = [ResourceKey("StagedNetworkPolicy", namespace, "p") for namespace in ("red", "blue")]
    for key in keys:
        metadata = Metadata(name="p", namespace=key.namespace)
        host.graph.on_resource(key, StagedNetworkPolicy(metadata=metadata, spec=StagedNetworkPolicySpec(order=1.0)))
    host.flush()
    assert {key: policy.kind for key, policy in host.state.policies.items()} == {keys[0]: "staged"}


def test_an_endpoint_is_named_to_people_by_what_names_its_status() -> None:
    assert str(EndpointId("k8s", "ns/w", "eth0")) == "k8s ns/w eth0"


def test_a_staged_kubernetes_policy_of_another_namespace_governs_nothing_here() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1", labels={"projectcalico.org/orchestrator": "k8s"})
    key = ResourceKey("StagedKubernetesNetworkPolicy", "blue", "p")
    host.graph.on_resource(key, StagedKubernetesNetworkPolicy(metadata=Metadata(name="p", namespace="blue")))
    assert host.flush()[1:] == []
    assert host.state.policies == {}


def test_a_policy_needed_on_every_node_is_told_with_its_sets_before_any_endpoint_uses_it() -> None:
    host = Host()
    host.endpoint("q", "10.0.0.2", node="there", labels={"a": "x"})
    key = host.policy("p", performance_hints=("AssumeNeededOnEveryNode",), selector="b == 'y'", **allow_from("has(a)"))
    host.flush()
    assert host.state.policies[key].preload
    assert host.only_set() == {net("10.0.0.2")}
    assert host.state.endpoints == {}
    host.endpoint("p", "10.0.0.1", labels={"b": "y"})
    assert [type(message) for message in host.flush()] == [EndpointUpdate]
    host.policy("p", selector="b == 'z'", **allow_from("has(a)"))
    host.flush()
    assert (host.state.policies, host.state.ip_sets) == ({}, {})


def web(*addresses: str) -> ServiceEndpoints:
    return ServiceEndpoints(
        addresses=frozenset(map(net, addresses)),
        ports=frozenset(addr_port(addr_bytes(address), 6, 80) for address in addresses),
    )


def test_sets_of_a_service_follow_it_by_what_changes() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1")
    match = EntityRule(services=ServiceMatch(name="web", namespace="blue"))
    to_service, from_service = Rule(action="Allow", destination=match), Rule(action="Allow", source=match)
    key = host.policy("p", ingress=(from_service,), egress=(to_service,), types=("Ingress", "Egress"))
    host.graph.on_service_source()
    host.flush()
    assert host.state.problems == {}
    assert [ip_set.members for ip_set in host.state.ip_sets.values()] == [frozenset(), frozenset()]
    host.graph.on_service("blue", "web", web("10.9.0.1", "10.9.0.2"))
    host.flush()
    members = {ip_set.kind: ip_set.members for ip_set in host.state.ip_sets.values()}
    assert members == {"nets": web("10.9.0.1", "10.9.0.2").addresses, "ports": web("10.9.0.1", "10.9.0.2").ports}
    host.graph.on_service("blue", "web", web("10.9.0.2", "10.9.0.3"))
    deltas = [message for message in host.flush() if isinstance(message, IPSetDelta)]
    assert {(len(delta.added), len(delta.removed)) for delta in deltas} == {(1, 1)}
    assert len(deltas) == 2
    host.graph.on_service("blue", "other", web("10.9.0.9"))
    assert host.flush() == []
    host.graph.on_resource(key, None)
    host.flush()
    assert host.state.ip_sets == {}


def test_a_service_is_a_problem_until_somebody_tells_services() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1", profiles=("kns.red",))
    rule = Rule(action="Allow", source=EntityRule(services=ServiceMatch(name="web", namespace="red")))
    key = host.policy("p", types=("Ingress",), ingress=(rule,))
    host.profile("kns.red", ingress=(rule,))
    host.flush()
    assert set(host.state.problems) == {key, ResourceKey("Profile", "", "kns.red")}
    host.graph.on_service_source()
    assert {type(message) for message in host.flush()} == {ProblemUpdate}
    assert host.state.problems == {}


def test_an_endpoint_cannot_give_itself_labels_of_its_namespace_or_account() -> None:
    host = Host()
    spoofed = {
        "pcns.team": "a",
        "pcsa.role": "admin",
        "projectcalico.org/namespace": "blue",
        "projectcalico.org/serviceaccount": "root",
    }
    host.endpoint("p", "10.0.0.1", labels=spoofed, service_account_name="robot")
    for number, selector in enumerate(
        (
            "has(pcns.team)",
            "has(pcsa.role)",
            "projectcalico.org/namespace == 'blue'",
            "projectcalico.org/serviceaccount == 'root'",
        )
    ):
        host.policy(f"p{number}", selector=selector)
    host.policy("real", selector="projectcalico.org/namespace == 'red' && projectcalico.org/serviceaccount == 'robot'")
    host.flush()
    assert [key.name for key in host.state.policies] == ["real"]


def test_a_network_set_cannot_give_itself_labels_of_a_namespace_or_account() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1")
    spoofed = {
        "pcns.team": "a",
        "pcsa.role": "admin",
        "projectcalico.org/namespace": "blue",
        "projectcalico.org/serviceaccount": "root",
    }
    host.global_set("s", spoofed, "192.0.2.0/25")
    key = ResourceKey("NetworkSet", "green", "s")
    value = NetworkSet(metadata=Metadata(labels=spoofed), spec=NetworkSetSpec(nets=("192.0.2.128/25",)))
    host.graph.on_resource(key, value)
    entities = (
        EntityRule(namespace_selector="team == 'a'"),
        EntityRule(namespace_selector="projectcalico.org/name == 'blue'"),
        EntityRule(selector="projectcalico.org/namespace == 'blue'"),
        EntityRule(service_accounts=ServiceAccountMatch(names=("root",))),
        EntityRule(service_accounts=ServiceAccountMatch(selector="role == 'admin'")),
    )
    host.policy("p", types=("Ingress",), ingress=tuple(Rule(action="Allow", source=entity) for entity in entities))
    host.flush()
    assert len(host.state.ip_sets) == len(entities)
    assert {ip_set.members for ip_set in host.state.ip_sets.values()} == {frozenset()}


def test_staged_policies_stand_in_every_list_of_a_host_endpoint_that_they_would_be_in() -> None:
    host = Host()
    spec = HostEndpointSpec(node="here", interface_name="eth0")
    host.graph.on_resource(ResourceKey("HostEndpoint", "", "h"), HostEndpoint(spec=spec))
    forward = host.staged("f", apply_on_forward=True)
    untracked = host.staged("u", do_not_track=True, apply_on_forward=True)
    pre_dnat = host.staged("d", pre_dnat=True, apply_on_forward=True, types=("Ingress",))
    host.flush()
    (endpoint,) = host.state.host_endpoints.values()
    lists = (endpoint.tiers, endpoint.forward_tiers, endpoint.untracked_tiers, endpoint.pre_dnat_tiers)
    assert [tiers[0].ingress for tiers in lists] == [(forward,), (forward,), (untracked,), (pre_dnat,)]
    assert {policy.kind for policy in host.state.policies.values()} == {"staged"}


NAMED_BY = {
    **dict.fromkeys((IPSetUpdate, IPSetDelta, IPSetRemove, EndpointUpdate, EndpointRemove), "id"),
    **dict.fromkeys((PolicyUpdate, PolicyRemove, ProblemUpdate), "key"),
    **dict.fromkeys((ProfileUpdate, ProfileRemove, HostEndpointUpdate, HostEndpointRemove), "name"),
}
"""What tells the messages of a type apart."""


def names_by_type(messages: list[Message]) -> dict[type[Message], list[Any]]:
    found: dict[type[Message], list[Any]] = {}
    for message in messages:
        found.setdefault(type(message), []).append(getattr(message, NAMED_BY[type(message)]))
    return found


def test_messages_of_one_type_come_in_the_order_of_their_names_however_things_came_to_be() -> None:
    host, count = Host(), 12
    keys: list[ResourceKey] = []
    for number in sorted(range(count), key=lambda number: number * 7 % count):
        keys += (
            host.endpoint(f"p{number}", f"10.0.0.{number}", profiles=(f"f{number}",)),
            host.policy(f"p{number}", **allow_from(f"a == 'x{number}'")),
            host.global_set(f"s{number}", {}, "nonsense"),
            ResourceKey("HostEndpoint", "", f"h{number}"),
        )
        spec = HostEndpointSpec(node="here", interface_name=f"eth{number}")
        host.graph.on_resource(keys[-1], HostEndpoint(spec=spec))
    appeared = names_by_type(host.flush())
    for number in reversed(range(count)):
        host.global_set(f"s{number}", {"a": f"x{number}"}, f"192.0.2.{number}")
    changed = names_by_type(host.flush())
    for key in reversed(keys):
        host.graph.on_resource(key, None)
    vanished = names_by_type(host.flush())
    for messages in (appeared, changed, vanished):
        assert messages == {kind: sorted(names) for kind, names in messages.items()}
    assert {kind for messages in (appeared, changed, vanished) for kind in messages} == set(NAMED_BY)
    assert {len(names) for messages in (appeared, changed, vanished) for names in messages.values()} == {count}
