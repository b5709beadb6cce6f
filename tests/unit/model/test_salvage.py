"""What is saved of damaged objects: rules deny, what decides nothing is left out, all of it is named (decision 5)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from calico.model.codec import decode
from calico.model.ippool import IPPool
from calico.model.keys import ResourceKey
from calico.model.node import Node
from calico.model.policy import NetworkPolicy, Profile, Rule, Tier
from calico.model.workload import WorkloadEndpoint

POLICY = ResourceKey("NetworkPolicy", "ns", "web")
ALLOW = (Rule(action="Allow"),)
DENY = (Rule(action="Deny"),)
RULES: dict[str, Any] = {"selector": "has(a)", "types": ["Ingress"], "ingress": [{"action": "Allow"}]}


def policy_of(raw: bytes) -> tuple[NetworkPolicy, tuple[str, ...]]:
    found = decode(POLICY, raw)
    assert isinstance(found.resource, NetworkPolicy), found.problems
    return found.resource, found.problems


def test_a_policy_with_unreadable_labels_does_what_it_says() -> None:
    metadata = {"labels": {"a": 1, "b": "c"}, "annotations": 7, "finalizers": "x", "uid": "u"}
    policy, problems = policy_of(json.dumps({"metadata": metadata, "spec": RULES}).encode())
    assert policy.spec.ingress == ALLOW
    assert policy.metadata.labels["b"] == "c"
    assert policy.metadata.uid == "u"
    assert [problem.partition(":")[0] for problem in problems] == [
        "metadata.labels[a]",
        "metadata.annotations",
        "metadata.finalizers",
    ]


def test_unreadable_hints_of_a_policy_change_nothing() -> None:
    policy, problems = policy_of(json.dumps({"spec": {**RULES, "performanceHints": 5}}).encode())
    assert policy.spec.ingress == ALLOW
    assert problems[0].startswith("spec.performanceHints")


def test_unreadable_rules_and_hints_deny() -> None:
    policy, problems = policy_of(json.dumps({"spec": {**RULES, "egress": 5, "performanceHints": 5}}).encode())
    assert (policy.spec.ingress, policy.spec.egress) == (DENY, ())
    assert len(problems) == 2


@pytest.mark.parametrize("types", [5, [5], {"Ingress": True}])
def test_unreadable_types_deny_both_ways(types: Any) -> None:
    policy, problems = policy_of(json.dumps({"spec": {**RULES, "types": types}}).encode())
    assert (policy.spec.ingress, policy.spec.egress) == (DENY, DENY)
    assert "types" in problems[0]


@pytest.mark.parametrize("name", ["selector", "order", "tier", "serviceAccountSelector"])
def test_a_policy_whose_subjects_or_place_cannot_be_read_is_absent(name: str) -> None:
    found = decode(POLICY, json.dumps({"spec": {**RULES, name: {}}}).encode())
    assert found.resource is None
    assert f"spec.{name}" in found.problems[0]


@pytest.mark.parametrize(
    "damage",
    [
        b'"\\ud800"',
        b'"\\udc00\\ud83d\\ude00"',
        b'"\xff\xfe"',
        b"1e400",
        b"9" * 5000,
        b"340282366920938463463374607431768211456",
    ],
)
def test_text_that_is_no_unicode_and_numbers_that_fit_nowhere_harm_only_their_member(damage: bytes) -> None:
    raw = b'{"metadata":{"annotations":{"note":' + damage + b'}},"spec":' + json.dumps(RULES).encode() + b"}"
    policy, _ = policy_of(raw)
    assert policy.spec.ingress == ALLOW
    policy.metadata.annotations.get("note", "").encode()


def test_a_number_that_fits_nowhere_makes_its_rule_deny() -> None:
    raw = b'{"spec":{"selector":"all()","types":["Egress"],"egress":[{"action":"Allow","protocol":' + b"9" * 5000
    policy, problems = policy_of(raw + b"}]}}")
    assert policy.spec.egress == DENY
    assert problems


@pytest.mark.parametrize("raw", [b"NaN", b'{"spec":NaN}', b'{"spec":{"order":Infinity}}', b"{'a':1}", b'{"a":1}}'])
def test_what_is_no_json_to_others_is_none_to_us(raw: bytes) -> None:
    found = decode(POLICY, raw)
    assert found.resource is None
    assert found.problems[0].startswith("not JSON")


def test_an_unreadable_status_is_left_out() -> None:
    for kind, spec in (("Node", {}), ("Tier", {}), ("IPPool", {"cidr": "10.0.0.0/16"})):
        found = decode(ResourceKey(kind, "", "x"), json.dumps({"spec": spec, "status": [1]}).encode())
        assert isinstance(found.resource, Node | Tier | IPPool)
        assert found.resource.status is None
        assert found.problems[0].startswith("status: ")


def test_a_profile_whose_labels_to_apply_cannot_be_read_is_absent() -> None:
    found = decode(ResourceKey("Profile", "", "p"), b'{"spec":{"labelsToApply":{"a":1}}}')
    assert found.resource is None
    assert found.problems


def test_a_profile_with_unreadable_labels_of_its_own_works() -> None:
    raw = b'{"metadata":{"labels":[]},"spec":{"ingress":[{"action":"Allow"}]}}'
    found = decode(ResourceKey("Profile", "", "p"), raw)
    assert isinstance(found.resource, Profile)
    assert found.resource.spec.ingress == ALLOW
    assert found.problems[0].startswith("metadata.labels")


def test_an_endpoint_whose_labels_cannot_be_read_is_absent_for_they_decide_which_policies_apply() -> None:
    found = decode(ResourceKey("WorkloadEndpoint", "ns", "e"), b'{"metadata":{"labels":{"a":1}},"spec":{"node":"n"}}')
    assert found.resource is None
    assert found.problems


def test_an_endpoint_loses_only_its_unreadable_limits() -> None:
    raw = b'{"spec":{"node":"n","qosControls":{"ingressBandwidth":"fast","egressBandwidth":1000}}}'
    found = decode(ResourceKey("WorkloadEndpoint", "ns", "e"), raw)
    assert isinstance(found.resource, WorkloadEndpoint)
    assert found.resource.spec.qos_controls is not None
    assert found.resource.spec.qos_controls.egress_bandwidth == 1000
    assert found.problems[0].startswith("spec.qosControls.ingressBandwidth: ")
