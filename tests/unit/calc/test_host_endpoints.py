"""What a host is told of its host endpoints and of the policies that govern them."""

from __future__ import annotations

from typing import Any

import pytest

from calico.calc.graph import Graph
from calico.calc.messages import (
    ActiveRule,
    HostEndpointRemove,
    HostEndpointUpdate,
    Message,
    PolicyUpdate,
    ProblemUpdate,
    TierPolicies,
)
from calico.calc.spec import DataplaneState
from calico.lib.packed import addr_bytes, addr_port, net
from calico.model.hostendpoint import HostEndpoint, HostEndpointPort, HostEndpointSpec
from calico.model.keys import ResourceKey
from calico.model.meta import Metadata
from calico.model.policy import (
    EntityRule,
    GlobalNetworkPolicy,
    GlobalNetworkPolicySpec,
    NetworkPolicy,
    NetworkPolicySpec,
    Profile,
    ProfileSpec,
    Rule,
    ServiceAccountMatch,
    Tier,
    TierSpec,
)
from calico.model.workload import WorkloadEndpoint, WorkloadEndpointSpec

ALLOW, DENY = (Rule(action="Allow"),), (Rule(action="Deny"),)
DENIED = (ActiveRule(action="deny", why="damaged"),)
ALLOWED = (ActiveRule(action="allow"),)


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

    def host_endpoint(self, name: str, *, labels: dict[str, str] | None = None, **spec: Any) -> ResourceKey:
        key = ResourceKey("HostEndpoint", "", name)
        usual = {"node": "here", "interface_name": name}
        value = HostEndpoint(metadata=Metadata(labels=labels or {}), spec=HostEndpointSpec(**{**usual, **spec}))
        self.graph.on_resource(key, value)
        return key

    def workload(self, pod: str, address: str, **spec: Any) -> ResourceKey:
        key = ResourceKey("WorkloadEndpoint", "red", f"here-k8s-{pod}-eth0")
        usual = {"node": "here", "orchestrator": "k8s", "pod": pod, "endpoint": "eth0", "interface_name": f"cali{pod}"}
        endpoint_spec = WorkloadEndpointSpec(**{**usual, "ip_networks": (address,), **spec})
        self.graph.on_resource(key, WorkloadEndpoint(metadata=Metadata(labels={"a": "x"}), spec=endpoint_spec))
        return key

    def policy(self, name: str, **spec: Any) -> ResourceKey:
        key = ResourceKey("GlobalNetworkPolicy", "", name)
        self.graph.on_resource(key, GlobalNetworkPolicy(spec=GlobalNetworkPolicySpec(**spec)))
        return key

    def namespaced(self, name: str, **spec: Any) -> ResourceKey:
        key = ResourceKey("NetworkPolicy", "red", name)
        metadata = Metadata(name=name, namespace="red")
        self.graph.on_resource(key, NetworkPolicy(metadata=metadata, spec=NetworkPolicySpec(**spec)))
        return key

    def profile(self, name: str, **spec: Any) -> None:
        self.graph.on_resource(ResourceKey("Profile", "", name), Profile(spec=ProfileSpec(**spec)))

    def remove(self, key: ResourceKey) -> None:
        self.graph.on_resource(key, None)

    def only_set(self) -> frozenset[bytes]:
        (only,) = self.state.ip_sets.values()
        return only.members


def listed(tiers: tuple[TierPolicies, ...]) -> list[tuple[str, list[str], list[str]]]:
    return [(tier.name, [key.name for key in tier.ingress], [key.name for key in tier.egress]) for tier in tiers]


def lists(endpoint: HostEndpointUpdate) -> dict[str, list[tuple[str, list[str], list[str]]]]:
    """The four lists of a host endpoint, those that are not empty."""
    named = {
        "normal": endpoint.tiers,
        "forward": endpoint.forward_tiers,
        "untracked": endpoint.untracked_tiers,
        "pre-dnat": endpoint.pre_dnat_tiers,
    }
    return {name: listed(tiers) for name, tiers in named.items() if tiers}


# What a host endpoint is


def test_a_host_is_told_its_own_host_endpoints_and_no_others() -> None:
    host = Host()
    host.profile("open", ingress=ALLOW)
    host.host_endpoint("eth0", expected_ips=("10.0.0.1", "fd00::1"), profiles=("open", "open", "missing"))
    host.host_endpoint("all", interface_name="*")
    host.host_endpoint("by-address", interface_name="", expected_ips=("10.0.0.2",))
    host.host_endpoint("eth1", node="there")
    host.flush()
    assert set(host.state.host_endpoints) == {"eth0", "all", "by-address"}
    assert host.state.host_endpoints["eth0"] == HostEndpointUpdate(
        name="eth0",
        key=ResourceKey("HostEndpoint", "", "eth0"),
        interface="eth0",
        expected_ips=(addr_bytes("10.0.0.1"), addr_bytes("fd00::1")),
        profiles=("open", "missing"),
    )
    assert host.state.host_endpoints["all"].interface == "*"
    assert host.state.host_endpoints["by-address"].interface == ""
    assert host.state.profiles["open"].ingress == ALLOWED
    assert host.state.profiles["missing"].ingress == (ActiveRule(action="deny", why="missing"),)


def test_a_host_endpoint_that_moves_to_another_host_leaves_this_one() -> None:
    host = Host()
    host.host_endpoint("eth0")
    host.flush()
    host.host_endpoint("eth0", node="there")
    assert host.flush() == [HostEndpointRemove(name="eth0")]


def test_host_endpoints_of_one_interface_are_all_told() -> None:
    host = Host()
    host.host_endpoint("a", interface_name="eth0")
    host.host_endpoint("b", interface_name="eth0")
    host.flush()
    assert set(host.state.host_endpoints) == {"a", "b"}
    assert host.state.problems == {}


def test_a_host_endpoint_that_names_the_interface_of_a_workload_takes_nothing_from_it() -> None:
    host = Host()
    host.workload("p", "10.0.0.1", interface_name="cali1")
    host.host_endpoint("mine", interface_name="cali1")
    host.flush()
    assert [endpoint.interface for endpoint in host.state.endpoints.values()] == ["cali1"]
    assert host.state.problems == {}


def test_a_profile_stays_while_a_workload_or_a_host_endpoint_names_it() -> None:
    host = Host()
    workload = host.workload("p", "10.0.0.1", profiles=("open",))
    key = host.host_endpoint("eth0", profiles=("open",))
    host.flush()
    host.remove(workload)
    host.flush()
    assert set(host.state.profiles) == {"open"}
    host.remove(key)
    host.flush()
    assert host.state.profiles == {}


# Which policies govern it


def test_policies_of_a_host_endpoint_are_told_apart_by_where_they_decide() -> None:
    host = Host()
    host.graph.on_resource(ResourceKey("Tier", "", "first"), Tier(spec=TierSpec(order=1.0, default_action="Pass")))
    host.host_endpoint("eth0")
    host.policy("normal", order=2.0)
    host.policy("forwarded", order=1.0, apply_on_forward=True)
    host.policy("untracked", do_not_track=True, apply_on_forward=True)
    host.policy("before-dnat", tier="first", types=("Ingress",), pre_dnat=True, apply_on_forward=True)
    host.flush()
    assert lists(host.state.host_endpoints["eth0"]) == {
        "normal": [("default", ["forwarded", "normal"], ["forwarded", "normal"])],
        "forward": [("default", ["forwarded"], ["forwarded"])],
        "untracked": [("default", ["untracked"], ["untracked"])],
        "pre-dnat": [("first", ["before-dnat"], [])],
    }
    assert {key.name: policy.kind for key, policy in host.state.policies.items()} == {
        "normal": "normal",
        "forwarded": "normal",
        "untracked": "untracked",
        "before-dnat": "pre-dnat",
    }
    assert host.state.problems == {}


def test_a_policy_that_changes_its_kind_changes_lists_at_once() -> None:
    host = Host()
    host.host_endpoint("eth0")
    host.policy("p", ingress=DENY)
    host.flush()
    host.policy("p", ingress=DENY, do_not_track=True, apply_on_forward=True)
    policy, endpoint = host.flush()
    assert isinstance(policy, PolicyUpdate)
    assert policy.kind == "untracked"
    assert isinstance(endpoint, HostEndpointUpdate)
    assert set(lists(endpoint)) == {"untracked"}


def test_untracked_and_pre_dnat_policies_do_not_govern_workloads() -> None:
    host = Host()
    host.workload("p", "10.0.0.1")
    host.policy("untracked", do_not_track=True, apply_on_forward=True)
    host.policy("before-dnat", types=("Ingress",), pre_dnat=True, apply_on_forward=True)
    host.flush()
    assert host.state.policies == {}
    host.host_endpoint("eth0")
    host.flush()
    assert {key.name for key in host.state.policies} == {"untracked", "before-dnat"}
    (workload,) = host.state.endpoints.values()
    assert workload.tiers == ()


def test_apply_on_forward_means_nothing_for_workloads() -> None:
    host = Host()
    host.workload("p", "10.0.0.1")
    host.policy("p", ingress=ALLOW)
    host.flush()
    host.policy("p", ingress=ALLOW, apply_on_forward=True)
    assert host.flush() == []


def test_a_host_endpoint_is_selected_by_its_labels_and_those_of_its_profiles() -> None:
    host = Host()
    host.profile("edge", labels_to_apply={"role": "edge", "zone": "profile"})
    host.host_endpoint("eth0", labels={"zone": "own"}, profiles=("edge",))
    host.policy("own", selector="zone == 'own'")
    host.policy("inherited", selector="role == 'edge'")
    host.policy("overridden", selector="zone == 'profile'")
    host.flush()
    assert lists(host.state.host_endpoints["eth0"])["normal"][0][1] == ["inherited", "own"]
    host.profile("edge")
    host.flush()
    assert lists(host.state.host_endpoints["eth0"])["normal"][0][1] == ["own"]


def test_a_policy_with_a_namespace_selector_of_everything_governs_workloads_only() -> None:
    host = Host()
    host.host_endpoint("eth0")
    host.workload("p", "10.0.0.1")
    host.policy("p", selector="all()", namespace_selector="all()")
    host.flush()
    assert lists(host.state.host_endpoints["eth0"]) == {}
    (workload,) = host.state.endpoints.values()
    assert listed(workload.tiers) == [("default", ["p"], ["p"])]


NAMESPACE = {"projectcalico.org/namespace": "red"}


@pytest.mark.parametrize(("own", "lent"), [({}, {}), (NAMESPACE, {}), ({}, NAMESPACE), (NAMESPACE, NAMESPACE)])
def test_policies_of_namespaces_never_govern_a_host_endpoint_whatever_label_it_has(
    own: dict[str, str], lent: dict[str, str]
) -> None:
    host = Host()
    host.profile("edge", labels_to_apply=lent)
    host.host_endpoint("eth0", labels=own, profiles=("edge",))
    host.namespaced("p", selector="all()", ingress=ALLOW, egress=ALLOW)
    host.policy("everything", selector="all()")
    host.policy("not-in-a-namespace", selector="!has(projectcalico.org/namespace)", do_not_track=True)
    host.flush()
    assert lists(host.state.host_endpoints["eth0"]) == {
        "normal": [("default", ["everything"], ["everything"])],
        "untracked": [("default", ["not-in-a-namespace"], ["not-in-a-namespace"])],
    }


@pytest.mark.parametrize(("own", "lent"), [(NAMESPACE, {}), ({}, NAMESPACE)])
def test_a_host_endpoint_is_no_peer_of_a_namespace_whatever_label_it_has(
    own: dict[str, str], lent: dict[str, str]
) -> None:
    host = Host()
    host.workload("p", "10.0.0.1")
    host.profile("edge", labels_to_apply=lent)
    host.host_endpoint("eth0", labels=own, expected_ips=("10.0.0.9",), profiles=("edge",))
    host.namespaced("p", types=("Ingress",), ingress=(Rule(action="Allow", source=EntityRule(selector="all()")),))
    host.flush()
    assert host.only_set() == {net("10.0.0.1")}


def test_a_host_endpoint_has_no_labels_of_namespaces_or_accounts_by_its_own_word() -> None:
    host = Host()
    claimed = {"pcns.team": "a", "pcsa.team": "a", "projectcalico.org/serviceaccount": "robot"}
    host.host_endpoint("eth0", labels=claimed, expected_ips=("10.0.0.9",))
    for name, entity in (
        ("namespace", EntityRule(namespace_selector="team == 'a'")),
        ("account", EntityRule(service_accounts=ServiceAccountMatch(names=("robot",)))),
        ("account-label", EntityRule(service_accounts=ServiceAccountMatch(selector="team == 'a'"))),
    ):
        host.policy(name, types=("Ingress",), ingress=(Rule(action="Allow", source=entity),))
    host.flush()
    assert [ip_set.members for ip_set in host.state.ip_sets.values()] == [frozenset()] * 3


# What it brings into sets


def test_host_endpoints_of_all_hosts_bring_their_addresses_and_named_ports_into_sets() -> None:
    host = Host()
    host.profile("edge", labels_to_apply={"role": "edge"})
    ports = (HostEndpointPort(name="ssh", protocol="TCP", port=22), HostEndpointPort(name="ssh", protocol=17, port=23))
    host.host_endpoint("eth0", expected_ips=("10.0.0.1", "fd00::1"), profiles=("edge",), ports=ports)
    host.host_endpoint("eth1", node="there", expected_ips=("10.0.0.2",), labels={"role": "edge"}, ports=ports)
    host.host_endpoint("all", node="there", interface_name="*", labels={"role": "edge"})
    source = EntityRule(selector="role == 'edge'")
    to_port = EntityRule(ports=("ssh",))
    rules = (Rule(action="Allow", source=source), Rule(action="Allow", protocol="TCP", destination=to_port))
    key = host.policy("p", types=("Ingress",), ingress=rules)
    host.flush()
    by_selector, by_port = host.state.policies[key].ingress
    assert host.state.ip_sets[by_selector.src.ip_sets[0]].members == {net("10.0.0.1"), net("fd00::1"), net("10.0.0.2")}
    assert host.state.ip_sets[by_port.dst.named_ports[0]].members == {
        addr_port(addr_bytes(address), 6, 22) for address in ("10.0.0.1", "fd00::1", "10.0.0.2")
    }


# Malformed ones


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"interface_name": ""}, "spec.interfaceName"),
        ({"interface_name": "eth0/1"}, "spec.interfaceName"),
        ({"interface_name": "a-name-of-16-char"}, "spec.interfaceName"),
        ({"interface_name": ".."}, "spec.interfaceName"),
        ({"interface_name": "**"}, "spec.interfaceName"),
        ({"interface_name": "", "expected_ips": ("ten", "10.0.0.0/24")}, "spec.expectedIPs[0]"),
    ],
)
def test_a_host_endpoint_of_which_nobody_knows_what_it_is_is_absent_and_named(
    change: dict[str, Any], field: str
) -> None:
    host = Host()
    host.host_endpoint("eth0")
    host.flush()
    key = host.host_endpoint("eth0", **change)
    removal, problem = host.flush()
    assert removal == HostEndpointRemove(name="eth0")
    assert isinstance(problem, ProblemUpdate)
    assert (problem.key, problem.problems[0].partition(":")[0]) == (key, field)
    host.host_endpoint("eth0", **{**change, "node": "there"})
    assert host.flush() == [ProblemUpdate(key=key, problems=())]


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"expected_ips": ("10.0.0.1", "ten")}, ["spec.expectedIPs[1]"]),
        ({"expected_ips": ("10.0.0.0/24",)}, ["spec.expectedIPs[0]"]),
        ({"expected_ips": ("fe80::1%eth0",)}, ["spec.expectedIPs[0]"]),
        ({"ports": (HostEndpointPort(name="a", protocol="ICMP", port=1),)}, ["spec.ports[0].protocol"]),
        ({"ports": (HostEndpointPort(name="a", port=1),)}, ["spec.ports[0].protocol"]),
        ({"ports": (HostEndpointPort(name="a", protocol=300, port=1),)}, ["spec.ports[0].protocol"]),
        ({"ports": (HostEndpointPort(name="a", protocol="TCP"),)}, ["spec.ports[0].port"]),
        (
            {"interface_name": "eth/0", "expected_ips": ("10.0.0.1", "ten")},
            ["spec.interfaceName", "spec.expectedIPs[1]"],
        ),
    ],
)
def test_a_malformed_host_endpoint_still_governs_what_it_is_and_its_own_host_names_the_fields(
    change: dict[str, Any], fields: list[str]
) -> None:
    """An interface without a host endpoint would be open."""
    host = Host()
    host.policy("p", types=("Ingress",), ingress=(Rule(action="Allow", protocol="TCP"),))
    key = host.host_endpoint("eth0", profiles=("edge",), **change)
    host.flush()
    update = host.state.host_endpoints["eth0"]
    assert update.tiers
    assert update.profiles == ("edge",)
    assert update.interface == ("" if "interface_name" in change else "eth0")
    assert update.expected_ips == ((addr_bytes("10.0.0.1"),) if len(change.get("expected_ips", ())) == 2 else ())
    assert [problem.partition(":")[0] for problem in host.state.problems[key]] == fields
    host.host_endpoint("eth0", profiles=("edge",), **{**change, "node": "there"})
    host.flush()
    assert host.state.host_endpoints == {}
    assert key not in host.state.problems


def test_a_host_endpoint_without_a_host_is_named_by_every_host() -> None:
    host = Host()
    key = host.host_endpoint("eth0", node="")
    host.flush()
    assert host.state.host_endpoints == {}
    assert host.state.problems[key][0].startswith("spec.node: ")


def test_a_malformed_host_endpoint_brings_nothing_into_sets_on_any_host() -> None:
    host = Host()
    host.workload("p", "10.0.0.1")
    host.policy("p", types=("Ingress",), ingress=(Rule(action="Allow", source=EntityRule(selector="role == 'edge'")),))
    host.host_endpoint("eth0", node="there", labels={"role": "edge"}, expected_ips=("10.0.0.9", "ten"))
    host.flush()
    assert host.only_set() == frozenset()
    host.host_endpoint("eth0", node="there", labels={"role": "edge"}, expected_ips=("10.0.0.9",))
    host.flush()
    assert host.only_set() == {net("10.0.0.9")}


def test_an_expected_address_may_carry_the_length_of_an_address_and_repeats_are_dropped() -> None:
    host = Host()
    host.host_endpoint("eth0", expected_ips=("10.0.0.1/32", "10.0.0.1"))
    host.flush()
    assert host.state.host_endpoints["eth0"].expected_ips == (addr_bytes("10.0.0.1"),)


# Policies whose flags contradict one another


@pytest.mark.parametrize(
    ("flags", "kind", "field"),
    [
        ({"do_not_track": True}, "untracked", "spec.applyOnForward"),
        ({"pre_dnat": True, "types": ("Ingress",), "egress": ()}, "pre-dnat", "spec.applyOnForward"),
        ({"pre_dnat": True, "apply_on_forward": True, "types": ("Ingress",)}, "pre-dnat", "spec.egress"),
        ({"pre_dnat": True, "apply_on_forward": True, "types": ("Egress",), "egress": ()}, "pre-dnat", "spec.types"),
    ],
)
def test_a_policy_whose_flags_contradict_one_another_denies_where_it_stands_and_is_named(
    flags: dict[str, Any], kind: str, field: str
) -> None:
    host = Host()
    host.host_endpoint("eth0")
    key = host.policy("p", **{"ingress": ALLOW, "egress": ALLOW, **flags})
    host.flush()
    policy = host.state.policies[key]
    assert (policy.kind, policy.ingress) == (kind, DENIED)
    assert policy.egress == (DENIED if kind == "untracked" else ())
    egress = ["p"] if kind == "untracked" else []
    assert lists(host.state.host_endpoints["eth0"]) == {kind: [("default", ["p"], egress)]}
    assert [problem.partition(":")[0] for problem in host.state.problems[key]] == [field]


def test_a_policy_that_is_untracked_and_pre_dnat_denies_in_both_places() -> None:
    host = Host()
    host.host_endpoint("eth0")
    host.workload("p", "10.0.0.1")
    key = host.policy("p", ingress=ALLOW, do_not_track=True, pre_dnat=True, apply_on_forward=True)
    host.flush()
    assert host.state.policies[key] == PolicyUpdate(
        key=key, tier="default", kind="untracked", ingress=DENIED, egress=DENIED
    )
    assert lists(host.state.host_endpoints["eth0"]) == {
        "untracked": [("default", ["p"], ["p"])],
        "pre-dnat": [("default", ["p"], [])],
    }
    (workload,) = host.state.endpoints.values()
    assert workload.tiers == ()
    assert [problem.partition(":")[0] for problem in host.state.problems[key]] == ["spec.preDNAT"]


def test_a_pre_dnat_policy_that_does_not_say_its_types_is_for_ingress() -> None:
    host = Host()
    host.host_endpoint("eth0")
    key = host.policy("p", ingress=ALLOW, pre_dnat=True, apply_on_forward=True)
    host.flush()
    assert (host.state.policies[key].ingress, host.state.policies[key].egress) == (ALLOWED, ())
    assert lists(host.state.host_endpoints["eth0"]) == {"pre-dnat": [("default", ["p"], [])]}
    assert host.state.problems == {}


def test_a_policy_of_unknown_types_denies_in_its_place() -> None:
    host = Host()
    host.host_endpoint("eth0")
    before_dnat = host.policy("p", ingress=ALLOW, types=("Sideways",), pre_dnat=True, apply_on_forward=True)
    untracked = host.policy("u", ingress=ALLOW, types=("Sideways",), do_not_track=True, apply_on_forward=True)
    host.flush()
    assert (host.state.policies[before_dnat].ingress, host.state.policies[before_dnat].egress) == (DENIED, ())
    assert (host.state.policies[untracked].ingress, host.state.policies[untracked].egress) == (DENIED, DENIED)
