"""Staged policies: what is stored, filled in, refused, and saved of damaged ones."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from calico.model.codec import decode, encode, unknown_fields
from calico.model.defaults import with_defaults
from calico.model.keys import ResourceKey, key_path, parse_key
from calico.model.kinds import find_kind
from calico.model.kubernetes.networkpolicy import network_policy_to_calico
from calico.model.meta import Metadata
from calico.model.policy import Rule
from calico.model.staged import (
    StagedGlobalNetworkPolicy,
    StagedGlobalNetworkPolicySpec,
    StagedKubernetesNetworkPolicy,
    StagedKubernetesNetworkPolicySpec,
    StagedNetworkPolicy,
    StagedNetworkPolicySpec,
)
from calico.model.validation import validate

KEY = ResourceKey("StagedNetworkPolicy", "ns", "web")
K8S_KEY = ResourceKey("StagedKubernetesNetworkPolicy", "ns", "web")
ALLOW = (Rule(action="Allow"),)
K8S_SPEC: dict[str, Any] = {
    "podSelector": {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "a", "operator": "Exists"}]},
    "ingress": [
        {"from": [{"podSelector": {}}, {"namespaceSelector": {"matchLabels": {"team": "a"}}}], "ports": [{"port": 80}]},
        {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]},
    ],
    "egress": [{"to": [{"podSelector": {}}], "ports": [{"protocol": "UDP", "port": "dns"}, {"port": 1, "endPort": 9}]}],
    "policyTypes": ["Ingress", "Egress"],
}


def kubernetes(**spec: Any) -> StagedKubernetesNetworkPolicy:
    document = {"metadata": {"name": "web", "namespace": "ns"}, "spec": spec}
    return msgspec.convert(document, StagedKubernetesNetworkPolicy)


def faults(resource: Any) -> list[str]:
    return [fault.field for fault in validate(resource)]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("snp", "StagedNetworkPolicy"),
        ("sgnp", "StagedGlobalNetworkPolicy"),
        ("sknp", "StagedKubernetesNetworkPolicy"),
        ("StagedNetworkPolicies", "StagedNetworkPolicy"),
    ],
)
def test_people_may_call_them_by_short_names(name: str, kind: str) -> None:
    assert find_kind(name).kind == kind


@pytest.mark.parametrize("kind", ["StagedNetworkPolicy", "StagedGlobalNetworkPolicy", "StagedKubernetesNetworkPolicy"])
def test_their_keys_are_those_of_calico(kind: str) -> None:
    namespace = "" if "Global" in kind else "ns"
    key = ResourceKey(kind, namespace, "p")
    path = key_path(key)
    assert path.removesuffix("/p").split("/")[5:] == [f"{kind.lower()[:-1]}ies", *([namespace] if namespace else [])]
    assert parse_key(path) == key


def test_they_carry_tier_label_and_name_annotation_as_enforced_policies_do() -> None:
    policy = StagedNetworkPolicy(
        metadata=Metadata(name="web", namespace="ns"), spec=StagedNetworkPolicySpec(tier="t", order=2.0, ingress=ALLOW)
    )
    stored = json.loads(encode(policy))
    assert stored["kind"] == "StagedNetworkPolicy"
    assert stored["metadata"]["labels"] == {"projectcalico.org/tier": "t"}
    assert stored["metadata"]["annotations"] == {"projectcalico.org/metadata": '{"name":"web"}'}
    assert stored["spec"]["order"] == 2
    decoded = decode(KEY, encode(policy))
    assert decoded.problems == ()
    assert isinstance(decoded.resource, StagedNetworkPolicy)
    assert decoded.resource.spec == policy.spec
    assert decoded.resource.metadata.annotations == {}


def test_a_damaged_rule_of_a_staged_policy_denies_as_it_would_when_enforced() -> None:
    decoded = decode(KEY, b'{"spec":{"ingress":[{"action":"Allow","protocol":"pigeon"}],"types":["Ingress"]}}')
    assert isinstance(decoded.resource, StagedNetworkPolicy)
    assert decoded.resource.spec.ingress == (Rule(action="Deny"),)
    assert decoded.problems


def test_a_kubernetes_policy_survives_storing_with_the_difference_of_absent_and_empty_selectors() -> None:
    policy = kubernetes(**K8S_SPEC)
    stored = json.loads(encode(policy))
    assert stored["spec"] == K8S_SPEC
    assert decode(K8S_KEY, encode(policy)).resource.spec == policy.spec  # type: ignore[union-attr]
    assert json.loads(encode(kubernetes()))["spec"] == {"podSelector": {}}


def test_a_misspelt_field_of_a_kubernetes_policy_is_found() -> None:
    raw = {"spec": {"ingress": [{"form": []}]}}
    assert unknown_fields(raw, StagedKubernetesNetworkPolicy) == ["spec.ingress[0].form"]


def test_what_was_left_out_is_filled_in() -> None:
    spec = with_defaults(StagedNetworkPolicy(spec=StagedNetworkPolicySpec(egress=ALLOW))).spec
    assert (spec.staged_action, spec.tier, spec.types) == ("Set", "default", ("Egress",))
    spec = with_defaults(StagedGlobalNetworkPolicy(spec=StagedGlobalNetworkPolicySpec(tier="t"))).spec
    assert (spec.staged_action, spec.tier, spec.types) == ("Set", "t", ("Ingress",))
    assert with_defaults(kubernetes()).spec.staged_action == "Set"


def test_the_removal_of_a_policy_gets_no_types() -> None:
    removal = StagedNetworkPolicySpec(staged_action="Delete", types=("Ingress",))
    assert with_defaults(StagedNetworkPolicy(spec=removal)).spec == StagedNetworkPolicySpec(
        staged_action="Delete", tier="default"
    )
    assert with_defaults(kubernetes(stagedAction="Delete", policyTypes=["Egress"])).spec.policy_types == ()


@pytest.mark.parametrize("more", [{"order": 1.0}, {"ingress": ALLOW}, {"selector": "all()"}, {"egress": ALLOW}])
def test_the_removal_of_a_policy_says_nothing_else(more: Any) -> None:
    metadata = Metadata(name="web", namespace="ns")
    spec = StagedNetworkPolicySpec(staged_action="Delete", tier="t", types=("Ingress",), **more)
    assert faults(StagedNetworkPolicy(metadata=metadata, spec=spec)) == [f"spec.{next(iter(more))}"]


def test_the_removal_of_a_kubernetes_policy_says_nothing_else() -> None:
    assert faults(kubernetes(stagedAction="Delete", podSelector={}, policyTypes=["Ingress"])) == []
    assert faults(kubernetes(stagedAction="Delete", egress=[{}])) == ["spec.egress"]


def test_they_are_checked_as_what_they_would_be() -> None:
    metadata = Metadata(name="web")
    spec = StagedGlobalNetworkPolicySpec(do_not_track=True, selector="((", staged_action="Perhaps")
    found = faults(StagedGlobalNetworkPolicy(metadata=metadata, spec=spec))
    assert found == ["spec.stagedAction", "spec.selector", "spec.applyOnForward"]


def test_a_kubernetes_policy_that_can_be_converted_whole_is_fine() -> None:
    assert faults(kubernetes(**K8S_SPEC)) == []


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"stagedAction": "Perhaps"}, "spec.stagedAction"),
        ({"policyTypes": ["Sideways"]}, "spec.policyTypes[0]"),
        ({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}, "spec.podSelector"),
        ({"ingress": [{}, {"from": [{}]}]}, "spec.ingress[1]"),
        ({"egress": [{"ports": [{"port": 9, "endPort": 1}]}], "policyTypes": ["Egress"]}, "spec.egress[0]"),
        ({"egress": [{"ports": [{"protocol": "ICMP"}]}]}, "spec.egress[0].ports[0].protocol"),
        ({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/33"}}]}]}, "spec.ingress[0].from[0].ipBlock.cidr"),
    ],
)
def test_what_of_a_kubernetes_policy_cannot_be_converted_is_refused(spec: dict[str, Any], field: str) -> None:
    assert faults(kubernetes(**spec)) == [field]


def test_without_policy_types_a_kubernetes_policy_is_for_egress_only_with_such_rules() -> None:
    spec = StagedKubernetesNetworkPolicySpec()
    assert network_policy_to_calico({"spec": msgspec.to_builtins(spec)}).policy.spec.types == ("Ingress",)
    with_egress = {"egress": [{}]}
    assert network_policy_to_calico({"spec": with_egress}).policy.spec.types == ("Ingress", "Egress")
