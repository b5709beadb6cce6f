"""NetworkPolicies of which not everything can be converted."""

from __future__ import annotations

from typing import Any

import pytest

from calico.model.defaults import with_defaults
from calico.model.validation import validate
from calico.orchestrators.kubernetes.convert.closed import Converted, network_policy_or_closed


def convert(spec: Any, name: str = "p") -> Converted:
    return network_policy_or_closed({"metadata": {"name": name, "namespace": "n"}, "spec": spec})


GOOD = {"from": [{"podSelector": {"matchLabels": {"a": "b"}}}]}
POD = "projectcalico.org/orchestrator == 'k8s'"


def test_a_rule_that_calico_would_refuse_is_left_out_and_the_others_stay() -> None:
    many = [f"10.{n // 256}.{n % 256}.0/24" for n in range(300)]
    found = convert(
        {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": many}}]}, GOOD]}
    )
    assert len(found.policy.spec.ingress) == 1
    assert len(found.problems) == 1


@pytest.mark.parametrize(
    ("spec", "types"),
    [
        ({"podSelector": {"matchExpressions": [{"key": "k", "operator": "Near"}]}, "ingress": [GOOD]}, ("Ingress",)),
        ({"podSelector": {"matchLabels": 7}, "policyTypes": ["Egress"], "egress": [{}]}, ("Egress",)),
        ({"podSelector": "all", "egress": [{}]}, ("Ingress", "Egress")),
        (["?"], ("Ingress",)),
    ],
)
def test_when_the_pods_cannot_be_told_all_of_the_namespace_are_isolated(spec: Any, types: tuple[str, ...]) -> None:
    found = convert(spec)
    assert (found.policy.spec.selector, found.policy.spec.types) == (POD, types)
    assert found.policy.spec.ingress == found.policy.spec.egress == ()
    assert found.problems


def test_more_rules_than_a_policy_may_have_isolate_what_it_selects() -> None:
    rules = [{"from": [{"podSelector": {"matchLabels": {"a": str(n)}}}]} for n in range(1100)]
    found = convert({"podSelector": {"matchLabels": {"x": "y"}}, "ingress": rules})
    assert (found.policy.spec.selector, found.policy.spec.ingress) == (f"{POD} && x == 'y'", ())
    assert "nothing is allowed" in found.problems[0]


def test_many_ports_become_several_rules_and_a_network_is_taken_without_its_host_bits() -> None:
    ports = [{"port": port} for port in range(1, 240, 2)]
    found = convert({"podSelector": {}, "ingress": [{"ports": ports, "from": [{"ipBlock": {"cidr": "10.1.2.3/8"}}]}]})
    assert found.problems == ()
    assert [len(rule.destination.ports) for rule in found.policy.spec.ingress] == [50, 50, 20]
    assert {rule.source.nets for rule in found.policy.spec.ingress} == {("10.0.0.0/8",)}


def test_names_of_any_length_stay_distinct_and_valid() -> None:
    names = ["x" * 253, "x" * 252 + "y", "a." * 126 + "b", "short"]
    policies = [convert({"podSelector": {}}, name).policy for name in names]
    assert len({policy.metadata.name for policy in policies}) == 4
    assert [list(validate(with_defaults(policy))) for policy in policies] == [[]] * 4
