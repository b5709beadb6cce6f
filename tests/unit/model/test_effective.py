"""Effective selectors of policies and rule sides (spec §14)."""

from __future__ import annotations

import pytest

from calico.errors import InvalidInput
from calico.model.effective import entity_selector, policy_selector
from calico.model.meta import Metadata
from calico.model.policy import (
    EntityRule,
    GlobalNetworkPolicy,
    GlobalNetworkPolicySpec,
    NetworkPolicy,
    NetworkPolicySpec,
    ServiceAccountMatch,
)

IN_NS = 'projectcalico.org/namespace == "ns"'


def namespaced(**spec: str) -> str:
    return policy_selector(NetworkPolicy(metadata=Metadata(namespace="ns"), spec=NetworkPolicySpec(**spec))).canonical


def global_(**spec: str) -> str:
    return policy_selector(GlobalNetworkPolicy(spec=GlobalNetworkPolicySpec(**spec))).canonical


def sides(namespace: str = "", **entity: object) -> tuple[str | None, str | None]:
    positive, negative = entity_selector(EntityRule(**entity), namespace)  # type: ignore[arg-type]
    return positive and positive.canonical, negative and negative.canonical


def test_a_namespaced_policy_selects_within_its_namespace() -> None:
    assert namespaced() == IN_NS
    assert namespaced(selector="a == 'b'") == f'(a == "b" && {IN_NS})'
    assert namespaced(selector="a == 'b' || has(c)") == f'((a == "b" || has(c)) && {IN_NS})'


def test_a_service_account_selector_narrows_a_namespaced_policy() -> None:
    assert namespaced(service_account_selector="r == 'x'") == f'({IN_NS} && pcsa.r == "x")'
    assert namespaced(service_account_selector="all()") == f"({IN_NS} && all())"


def test_a_global_policy_selects_as_written() -> None:
    assert global_() == "all()"
    assert global_(selector="has(a)") == "has(a)"


def test_all_namespaces_means_endpoints_in_a_namespace() -> None:
    assert global_(namespace_selector="all()") == "has(projectcalico.org/namespace)"
    assert global_(namespace_selector="e == 'p'") == 'pcns.e == "p"'


def test_all_in_the_selector_is_rewritten_too_when_there_is_a_namespace_selector() -> None:
    both = global_(selector="all()", namespace_selector="e == 'p'")
    assert both == '(has(projectcalico.org/namespace) && pcns.e == "p")'


def test_all_service_accounts_means_endpoints_with_one() -> None:
    assert global_(service_account_selector="all()") == "has(projectcalico.org/serviceaccount)"


def test_a_broken_selector_is_reported() -> None:
    with pytest.raises(InvalidInput, match="position"):
        global_(selector="a = b")


def test_a_side_with_only_nets_is_not_limited_to_the_namespace() -> None:
    assert sides("ns", nets=("10.0.0.0/8",)) == (None, None)
    assert sides("ns") == (None, None)


def test_a_selector_is_limited_to_the_policy_s_namespace() -> None:
    assert sides("ns", selector="has(a)") == (f"({IN_NS} && has(a))", None)
    assert sides("", selector="has(a)") == ("has(a)", None)


def test_a_negative_selector_alone_is_limited_to_the_namespace_and_folded() -> None:
    assert sides("ns", not_selector="has(a)") == (f"({IN_NS} && !has(a))", None)


def test_a_negative_selector_without_positive_stays_negative() -> None:
    assert sides("", not_selector="has(a)") == (None, "has(a)")


def test_a_namespace_selector_replaces_the_policy_s_namespace() -> None:
    assert sides("ns", namespace_selector="e == 'p'") == ('pcns.e == "p"', None)
    assert sides("ns", namespace_selector="all()", selector="has(a)") == (
        "(has(projectcalico.org/namespace) && has(a))",
        None,
    )
    assert sides("ns", namespace_selector=" global() ") == ("!has(projectcalico.org/namespace)", None)


def test_service_accounts_match_by_name_and_by_label() -> None:
    accounts = ServiceAccountMatch(names=("b", "a"), selector="r == 'x'")
    assert sides("", service_accounts=accounts) == (
        '(pcsa.r == "x" && projectcalico.org/serviceaccount in {"a", "b"})',
        None,
    )
    named = ServiceAccountMatch(names=("a",))
    assert sides("ns", service_accounts=named, selector="has(z)") == (
        f'({IN_NS} && (projectcalico.org/serviceaccount in {{"a"}} && has(z)))',
        None,
    )


def test_a_blank_selector_still_restricts_to_known_endpoints() -> None:
    assert sides("", selector=" ") == ("all()", None)


def test_a_namespace_cannot_break_out_of_its_quotes() -> None:
    with pytest.raises(InvalidInput):
        sides("x' || all() || a == '", selector="has(a)")
