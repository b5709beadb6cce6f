"""ClusterNetworkPolicies to GlobalNetworkPolicies of the tiers kube-admin and kube-baseline."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.errors import InvalidInput
from calico.model.defaults import with_defaults
from calico.model.policy import GlobalNetworkPolicy, Rule
from calico.model.validation import validate
from calico.orchestrators.kubernetes.convert.cluster_network_policy import cluster_network_policy_to_calico

EVERYONE = {"namespaces": {}}
DENY_ALL = Rule(action="Deny")


def policy(**spec: Any) -> tuple[GlobalNetworkPolicy | None, tuple[str, ...]]:
    whole = {"tier": "Admin", "priority": 5, "subject": EVERYONE, **spec}
    found = cluster_network_policy_to_calico({"metadata": {"name": "c"}, "spec": whole})
    return found.policy, found.problems


def ingress(*rules: Any) -> tuple[tuple[Rule, ...], tuple[str, ...]]:
    made, problems = policy(ingress=list(rules))
    assert made is not None
    return made.spec.ingress, problems


@pytest.mark.parametrize(
    ("tier", "ours", "prefix"),
    [("Admin", "kube-admin", "kcnp.admin."), ("Baseline", "kube-baseline", "kcnp.baseline.")],
)
def test_tier_priority_and_subject_are_kept(tier: str, ours: str, prefix: str) -> None:
    subject = {"pods": {"namespaceSelector": {"matchLabels": {"n": "1"}}, "podSelector": {"matchLabels": {"p": "2"}}}}
    made, problems = policy(tier=tier, subject=subject, egress=[{"action": "Pass", "to": [EVERYONE]}])
    assert made is not None
    assert (made.metadata.name, made.spec.tier, made.spec.order) == (f"{prefix}c", ours, 5.0)
    assert made.spec.selector == "projectcalico.org/orchestrator == 'k8s' && p == '2'"
    assert made.spec.namespace_selector == "n == '1'"
    assert (made.spec.types, problems) == (("Egress",), ())
    assert list(validate(with_defaults(made))) == []


def test_actions_keep_their_order_and_each_peer_and_protocol_makes_a_rule() -> None:
    rules, problems = ingress(
        {"action": "Accept", "from": [EVERYONE, {"pods": {"podSelector": {}}}],
         "protocols": [{"tcp": {"destinationPort": {"number": 80}}},
                       {"udp": {"destinationPort": {"range": {"start": 5, "end": 9}}}}]},
        {"action": "Pass", "from": [EVERYONE]},
        {"action": "Deny", "from": [EVERYONE]},
    )  # fmt: skip
    assert problems == ()
    assert [rule.action for rule in rules] == ["Allow"] * 4 + ["Pass", "Deny"]
    assert [(rule.protocol, rule.destination.ports) for rule in rules[:4]] == [("TCP", (80,)), ("UDP", ("5:9",))] * 2


def test_a_named_port_may_be_of_each_protocol() -> None:
    rules, _ = ingress({"action": "Accept", "from": [EVERYONE], "protocols": [{"destinationNamedPort": "web"}]})
    assert [(rule.protocol, rule.destination.ports) for rule in rules] == [
        (p, ("web",)) for p in ("TCP", "UDP", "SCTP")
    ]


BROKEN = [
    {"from": [{"nodes": {}}]},
    {"from": [{"networks": ["10.0.0.0/8"]}]},
    {"from": []},
    {},
    {"from": [EVERYONE], "protocols": []},
    {"from": [EVERYONE], "protocols": [{"icmp": {}}]},
    {"from": [EVERYONE], "protocols": [{"tcp": {"destinationPort": {"number": 0}}}]},
    {"from": [EVERYONE], "protocols": [{"tcp": {"destinationPort": {"range": {"start": 9, "end": 5}}}}]},
    {"from": [EVERYONE], "protocols": [{"tcp": {"flags": "syn"}}]},
    {"from": [EVERYONE], "weather": "sunny"},
    {"from": [{"namespaces": {"matchLabels": {"a": "it's"}}}]},
    {"from": [{"pods": {"nearby": True}}]},
    {"from": [{"namespaces": {}, "pods": {}}]},
    {"from": ["everyone"]},
    {"from": [{"namespaces": {"matchExpressions": [{"key": "k", "operator": "Near"}]}}]},
]


@pytest.mark.parametrize("rule", BROKEN)
@pytest.mark.parametrize(("action", "made"), [("Accept", ()), ("Deny", (DENY_ALL,)), ("Pass", (DENY_ALL,))])
def test_what_cannot_be_converted_fails_closed_in_its_place(rule: Any, action: str, made: tuple[Rule, ...]) -> None:
    last = {"action": "Accept", "from": [EVERYONE]}
    rules, problems = ingress({"action": action, **rule}, last)
    assert rules[:-1] == made
    assert rules[-1].action == "Allow"
    assert len(problems) == 1
    assert problems[0].startswith("spec.ingress[0]")


def test_an_unknown_action_denies_everything() -> None:
    assert ingress({"action": "Log", "from": [EVERYONE]}, "rubbish")[0] == (DENY_ALL, DENY_ALL)


def test_bad_networks_of_one_rule_do_not_stop_the_others() -> None:
    made, problems = policy(egress=[{"action": "Deny", "to": [{"networks": ["ten"]}]},
                                    {"action": "Accept", "to": [{"networks": ["10.0.0.0/8"]}]}])  # fmt: skip
    assert made is not None
    assert made.spec.egress[0] == DENY_ALL
    assert made.spec.egress[1].destination.nets == ("10.0.0.0/8",)
    assert len(problems) == 1


def test_rules_beyond_what_a_policy_may_have_deny_everything() -> None:
    made, problems = policy(ingress=[{"action": "Accept", "from": [EVERYONE] * 1100}])
    assert made is not None
    assert made.spec.ingress in ((), (DENY_ALL,))
    assert problems


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"tier": "Middle"}, "spec.tier"),
        ({"priority": "5"}, "spec.priority"),
        ({"priority": 1001}, "spec.priority"),
        ({"subject": {}}, "spec.subject"),
        ({"subject": {"hosts": {}}}, "spec.subject.hosts"),
        ({"subject": {"pods": 4}}, "spec.subject"),
        ({"subject": {"namespaces": {"matchLabels": {"a": 4}}}}, "spec.subject"),
    ],
)
def test_without_tier_priority_or_subject_nothing_can_be_made(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as error:
        policy(**spec)
    assert error.value.field == field


def test_without_rules_there_is_no_policy() -> None:
    assert policy() == (None, ())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 70000) | st.sampled_from(["", "10.0.0.0/8", "web", "Accept", "Deny"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "action",
                    "from",
                    "namespaces",
                    "pods",
                    "protocols",
                    "tcp",
                    "destinationPort",
                    "number",
                    "matchLabels",
                    "podSelector",
                ]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(st.lists(JSON, min_size=1, max_size=3))
def test_any_rules_at_all_make_a_policy_that_calico_takes(rules: list[Any]) -> None:
    made, _ = policy(ingress=rules)
    assert made is not None
    assert list(validate(with_defaults(made))) == []
