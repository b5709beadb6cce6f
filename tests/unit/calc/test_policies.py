"""A policy resource, checked: whom it governs, where it counts, and what is not taken for what it seems."""

from __future__ import annotations

from typing import Any

import pytest

from calico.calc.compile_rules import DENY_ALL
from calico.calc.messages import ActiveRule
from calico.calc.policies import compile_policy, compile_profile, governed, place_of
from calico.calc.policy_order import PolicyPlace
from calico.errors import InvalidInput
from calico.model.keys import ResourceKey
from calico.model.meta import Metadata
from calico.model.policy import (
    EntityRule,
    GlobalNetworkPolicy,
    GlobalNetworkPolicySpec,
    HTTPMatch,
    NetworkPolicy,
    NetworkPolicySpec,
    Profile,
    ProfileSpec,
    Rule,
    ServiceMatch,
)

GLOBAL, RED = ResourceKey("GlobalNetworkPolicy", "", "p"), ResourceKey("NetworkPolicy", "red", "p")
IN_RED = {"projectcalico.org/namespace": "red"}
ALLOW, DENY = (ActiveRule(action="allow"),), (ActiveRule(action="deny"),)


def global_policy(**spec: Any) -> GlobalNetworkPolicy:
    return GlobalNetworkPolicy(spec=GlobalNetworkPolicySpec(**spec))


def namespaced(namespace: str = "red", **spec: Any) -> NetworkPolicy:
    return NetworkPolicy(metadata=Metadata(namespace=namespace), spec=NetworkPolicySpec(**spec))


@pytest.mark.parametrize("text", ["a ==", "a == 'x') || (has(b)", "global()", "has(a) && global()"])
@pytest.mark.parametrize("field", ["selector", "namespace_selector", "service_account_selector"])
def test_each_selector_of_a_policy_must_be_one_by_itself_and_never_global(field: str, text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        governed(GLOBAL, global_policy(**{field: text}))
    words = field.split("_")
    assert refused.value.field == "spec." + words[0] + "".join(map(str.title, words[1:]))


def test_a_policy_governs_the_namespace_that_its_key_says_whatever_its_metadata_do() -> None:
    for metadata in ("red", "blue", ""):
        selector = governed(RED, namespaced(metadata, selector="has(a)"))
        assert selector is not None
        assert selector.matches({"a": "x", **IN_RED})
        assert not selector.matches({"a": "x", "projectcalico.org/namespace": "blue"})


def test_a_name_that_would_end_its_quotes_is_no_namespace() -> None:
    with pytest.raises(InvalidInput) as refused:
        governed(ResourceKey("NetworkPolicy", "r'd", "p"), namespaced("r'd"))
    assert refused.value.field == "spec.selector"


@pytest.mark.parametrize("kind", ["do_not_track", "pre_dnat"])
def test_policies_of_host_endpoints_only_govern_no_workload(kind: str) -> None:
    selector = governed(GLOBAL, global_policy(**{kind: True}))
    assert selector is not None
    assert selector.matches({"a": "x"})
    assert not selector.matches({"a": "x", "projectcalico.org/namespace": "red"})


@pytest.mark.parametrize(
    ("types", "ingress", "egress"),
    [
        ((), True, True),
        (("Ingress",), True, False),
        (("Egress",), False, True),
        (("Egress", "Ingress"), True, True),
        (("Sideways",), True, True),
        (("Ingress", "Sideways"), True, True),
    ],
)
def test_a_policy_counts_in_the_directions_of_its_types_and_in_both_when_one_is_unknown(
    types: tuple[str, ...], ingress: bool, egress: bool
) -> None:
    place = place_of(namespaced(types=types, tier="one", order=3.0))
    assert place == PolicyPlace("one", 3.0, ingress, egress)
    assert place_of(namespaced()).tier == "default"


def test_a_policy_with_an_unknown_type_denies_both_ways_and_names_the_type() -> None:
    policy = namespaced(types=("Ingress", "Sideways"), ingress=(Rule(action="Allow"),))
    compiled = compile_policy(RED, policy)
    assert (compiled.update.ingress, compiled.update.egress, compiled.sets) == (DENY_ALL, DENY_ALL, ())
    assert compiled.problems == ("spec.types[1]: 'Sideways' is neither Ingress nor Egress",)


def test_a_direction_that_the_types_leave_out_has_no_rules_and_nothing_is_wrong_in_it() -> None:
    rules = (Rule(action="Perhaps", source=EntityRule(selector="has(a)")),)
    compiled = compile_policy(RED, namespaced(types=("Egress",), ingress=rules, egress=(Rule(action="Allow"),)))
    assert (compiled.update.ingress, compiled.update.egress) == ((), ALLOW)
    assert (compiled.sets, compiled.problems) == ((), ())
    compiled = compile_policy(RED, namespaced(types=("Ingress",), ingress=(Rule(action="Deny"),), egress=rules))
    assert (compiled.update.ingress, compiled.update.egress, compiled.problems) == (DENY, (), ())


def test_problems_and_sets_of_both_directions_are_told_with_the_direction() -> None:
    select = Rule(action="Allow", source=EntityRule(selector="has(a)"))
    other = Rule(action="Allow", source=EntityRule(selector="has(b)"))
    http = Rule(action="Allow", http=HTTPMatch(methods=("GET",)))
    policy = namespaced(ingress=(select, http), egress=(select, other))
    assert [p.split(":")[0] for p in compile_policy(RED, policy).problems] == ["spec.ingress[1].http"]
    leaving = compile_policy(RED, namespaced(egress=(select, Rule(action="Perhaps"))))
    assert [p.split(":")[0] for p in leaving.problems] == ["spec.egress[1].action"]
    assert len(compile_policy(RED, policy).sets) == 2
    spec = ProfileSpec(ingress=(http, Rule(action="Perhaps")), egress=(Rule(action="Perhaps"),))
    profile = compile_profile("x", Profile(spec=spec))
    assert [p.split(":")[0] for p in profile.problems] == [
        "spec.ingress[0].http",
        "spec.ingress[1].action",
        "spec.egress[0].action",
    ]
    assert len(compile_profile("x", Profile(spec=ProfileSpec(ingress=(select,), egress=(other,)))).sets) == 2


def test_a_service_is_a_problem_of_policies_and_profiles_until_somebody_tells_services() -> None:
    web = EntityRule(services=ServiceMatch(name="web", namespace="red"))
    leaving, arriving = (Rule(action="Allow", destination=web),), (Rule(action="Allow", source=web),)
    policy = namespaced(ingress=arriving, egress=leaving)
    profile = Profile(spec=ProfileSpec(ingress=arriving, egress=leaving))
    for compiled in (compile_policy(RED, policy), compile_profile("x", profile)):
        fields = [problem.split(":")[0] for problem in compiled.problems]
        assert fields == ["spec.ingress[0].source.services", "spec.egress[0].destination.services"]
    assert compile_policy(RED, policy, services_known=True).problems == ()
    assert compile_profile("x", profile, services_known=True).problems == ()
