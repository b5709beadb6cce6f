"""What counts as a difference."""

import pytest

from calico.client.comparing import Change, compare
from calico.model.meta import Metadata
from calico.model.policy import EntityRule, GlobalNetworkPolicy, GlobalNetworkPolicySpec, Rule
from calico.model.workload import WorkloadEndpoint, WorkloadEndpointSpec


def policy(order: float | None = 1, selector: str = "all()", *rules: Rule, **labels: str) -> GlobalNetworkPolicy:
    spec = GlobalNetworkPolicySpec(order=order, selector=selector, ingress=rules)
    return GlobalNetworkPolicy(metadata=Metadata(name="p", labels=labels), spec=spec)


def nets(*names: str) -> Rule:
    return Rule(action="Allow", source=EntityRule(nets=names))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (policy(1, "a=='b'"), policy(1, 'a   == "b"')),
        (policy(1, "all()", nets("10.0.0.1", "10.2.0.0/16")), policy(1, "all()", nets("10.2.0.0/16", "10.0.0.1/32"))),
        (
            policy(),
            GlobalNetworkPolicy(kind="GlobalNetworkPolicy", metadata=Metadata(name="p", uid="x"), spec=policy().spec),
        ),
    ],
)
def test_spelling_order_and_identity_are_no_difference(one: GlobalNetworkPolicy, other: GlobalNetworkPolicy) -> None:
    assert compare(one, other).verdict == "unchanged"


def test_a_filled_in_default_is_no_difference() -> None:
    written = GlobalNetworkPolicySpec(order=1, selector="all()", tier="default", types=("Ingress",))
    assert compare(policy(), GlobalNetworkPolicy(metadata=Metadata(name="p"), spec=written)).verdict == "unchanged"


def test_what_changed_is_told_by_its_place() -> None:
    found = compare(policy(1, "all()", zone="a"), policy(2, "all()", zone="b"))
    assert (found.verdict, str(found)) == ("changed", "GlobalNetworkPolicy p")
    assert set(found.changes) == {Change("metadata.labels.zone", "a", "b"), Change("spec.order", 1, 2)}


def test_a_rule_put_first_changes_only_itself() -> None:
    old, new = nets("10.0.0.0/8"), nets("192.0.2.0/24")
    found = compare(policy(1, "all()", old), policy(1, "all()", new, old))
    assert [(change.path, change.before) for change in found.changes] == [("spec.ingress[0]", None)]


def test_the_order_of_rules_and_of_profiles_is_a_difference() -> None:
    one, two = nets("10.0.0.0/8"), nets("192.0.2.0/24")
    assert compare(policy(1, "all()", one, two), policy(1, "all()", two, one)).verdict == "changed"
    endpoints = [WorkloadEndpoint(spec=WorkloadEndpointSpec(profiles=names)) for names in (("a", "b"), ("b", "a"))]
    assert compare(*endpoints).verdict == "changed"


def test_what_appears_and_what_goes_is_said() -> None:
    assert compare(None, policy()).verdict == "created"
    assert compare(policy(), None).verdict == "deleted"
    assert Change("spec.selector", None, "all()") in compare(None, policy()).changes
    with pytest.raises(ValueError, match="nothing"):
        compare(None, None)


def test_a_selector_that_does_not_parse_is_compared_as_text() -> None:
    assert compare(policy(1, "a =="), policy(1, "a ==")).verdict == "unchanged"
    assert compare(policy(1, "a =="), policy(1, "b ==")).verdict == "changed"
