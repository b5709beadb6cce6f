"""ClusterNetworkPolicies of the API before and behind NetworkPolicies, held to packets between pods."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from calico.lab.probe.matrix import Probe
from cluster.mirrored import CLUSTER_POLICIES
from netpol.cases import wrong
from stack.process import until
from system.kubernetes.standard import PODS, standard_world
from system.kubernetes.world import KubernetesWorld

pytestmark = [
    pytest.mark.lab, pytest.mark.kubernetes, pytest.mark.timeout(300), pytest.mark.xdist_group("kubernetes")
]  # fmt: skip
Allowed = Callable[[str, str, str, int], bool]


def namespaces(*names: str) -> dict[str, Any]:
    return {"namespaces": {"matchExpressions": [{"key": "ns", "operator": "In", "values": list(names)}]}}


def pods(namespace: str, pod: str) -> dict[str, Any]:
    return {
        "pods": {"namespaceSelector": {"matchLabels": {"ns": namespace}}, "podSelector": {"matchLabels": {"pod": pod}}}
    }


def cnp(name: str, tier: str, priority: int, subject: dict[str, Any], **rules: Any) -> dict[str, Any]:
    spec = {"tier": tier, "priority": priority, "subject": subject, **rules}
    return {
        "apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": name},
        "spec": spec,
    }  # fmt: skip


def rule(action: str, *protocols: dict[str, Any], **peers: Any) -> dict[str, Any]:
    return {"action": action, **peers, **({"protocols": list(protocols)} if protocols else {})}


def to_port(protocol: str, number: int, last: int = 0) -> dict[str, Any]:
    port = {"range": {"start": number, "end": last}} if last else {"number": number}
    return {protocol: {"destinationPort": port}}


def network_policy(namespace: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "p", "namespace": namespace}, "spec": {"podSelector": {}, **spec},
    }  # fmt: skip


def hold(
    world: KubernetesWorld,
    cluster_policies: Sequence[Mapping[str, Any]],
    policies: Sequence[Mapping[str, Any]],
    allowed: Allowed,
) -> None:
    """Of all packets between pods exactly those pass that are ``allowed(source, destination, protocol, port)``."""
    standard = standard_world()
    world.become(standard["namespaces"], standard["endpoints"], policies, cluster_policies)
    probes = {
        Probe(src=src, dst=dst, protocol=protocol, port=port, family=family): allowed(src, dst, protocol, port)
        for src in PODS for dst in PODS if src != dst
        for protocol in ("TCP", "UDP", "SCTP") for port in (80, 81) for family in (4, 6)
    }  # fmt: skip
    assert not wrong(world.targets, probes)


def test_the_admin_tier_comes_before_network_policies_and_its_priorities_decide(world: KubernetesWorld) -> None:
    hold(
        world,
        [
            cnp("no-y", "Admin", 20, namespaces("x"), ingress=[rule("Deny", **{"from": [namespaces("y")]})]),
            cnp("but-y-a", "Admin", 10, namespaces("x"),
                ingress=[rule("Accept", to_port("tcp", 80), **{"from": [pods("y", "a")]})]),
        ],
        [network_policy("x", ingress=[{"from": [{"namespaceSelector": {"matchLabels": {"ns": "y"}}}]}])],
        lambda src, dst, protocol, port: (
            dst[0] != "x" or (src == "y-a" and protocol == "TCP" and port == 80)
        ),
    )  # fmt: skip


def test_pass_leaves_the_word_to_network_policies_and_then_to_the_baseline(world: KubernetesWorld) -> None:
    hold(
        world,
        [
            cnp("pass-z-a", "Admin", 1, namespaces("x", "y"), ingress=[rule("Pass", **{"from": [pods("z", "a")]})]),
            cnp("no-z", "Admin", 2, namespaces("x", "y"), ingress=[rule("Deny", **{"from": [namespaces("z")]})]),
            cnp("base", "Baseline", 0, namespaces("x", "y"),
                ingress=[rule("Deny", **{"from": [namespaces("z", "y")]})]),
        ],
        [network_policy("x", ingress=[{"from": [{"namespaceSelector": {"matchLabels": {"ns": "z"}}}]}])],
        lambda src, dst, protocol, port: {
            "x": src == "z-a",  # passed, and then allowed by the NetworkPolicy, which isolates from all others
            "y": src[0] == "x",  # no NetworkPolicy: the baseline denies what was passed, too
            "z": True,
        }[dst[0]],
    )  # fmt: skip


def test_egress_ranges_of_ports_are_those_that_are_said(world: KubernetesWorld) -> None:
    hold(
        world,
        [
            cnp("ports", "Admin", 5, pods("x", "a"),
                egress=[rule("Deny", to_port("tcp", 81, 90), to_port("sctp", 70, 80), to=[namespaces("y")])]),
        ],
        [],
        lambda src, dst, protocol, port: not (
            src == "x-a" and dst[0] == "y" and (protocol, port) in (("TCP", 81), ("SCTP", 80))
        ),
    )  # fmt: skip


def test_a_rule_that_cannot_be_enforced_denies_and_the_policy_says_so(world: KubernetesWorld) -> None:
    unknown = rule("Deny", to=[{"domainNames": ["example.com"]}])
    accepted = rule("Accept", to=[namespaces("y")])
    closed = cnp("closed", "Admin", 3, pods("x", "b"), egress=[accepted, unknown])
    hold(world, [closed], [], lambda src, dst, protocol, port: src != "x-b" or dst[0] == "y")
    condition = until("the policy has its condition", lambda: conditions(world, "closed"))
    assert isinstance(condition, list)
    assert [(one["status"], "domainNames" in one["message"]) for one in condition] == [("False", True)]


def conditions(world: KubernetesWorld, name: str) -> list[dict[str, Any]]:
    found = world.api.get(f"{CLUSTER_POLICIES}/{name}").get("status", {}).get("conditions", [])
    return [one for one in found if one["type"] == "projectcalico.org/Accepted"]
