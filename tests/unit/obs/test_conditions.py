"""Conditions are declared, keyed by what they are about, and news only once."""

import pytest

from calico.obs.conditions import Conditions


def test_a_condition_that_holds_already_is_no_news() -> None:
    conditions = Conditions()
    assert conditions.set("resource-invalid", "Tier a", "spec.order: bad")
    assert not conditions.set("resource-invalid", "Tier a", "spec.order: bad")
    assert conditions.clear("resource-invalid", "Tier a")
    assert not conditions.clear("resource-invalid", "Tier a")


def test_an_undeclared_condition_cannot_be_set() -> None:
    with pytest.raises(KeyError):
        Conditions().set("no-such-condition", "x", "y")


def test_replacing_leaves_other_conditions_alone() -> None:
    conditions = Conditions()
    conditions.set("resource-invalid", "Tier a", "x")
    conditions.replace("dataplane-rejected", {"chain p": "no", "chain q": "no"})
    conditions.replace("dataplane-rejected", {"chain q": "still no"})
    assert [(c.code, c.object, c.message) for c in conditions] == [
        ("dataplane-rejected", "chain q", "still no"),
        ("resource-invalid", "Tier a", "x"),
    ]
    assert {item["severity"] for item in conditions.as_data()} == {"error"}
