"""Judging a document names everything that is wrong with it."""

import pytest

from calico.model.judging import judge_document

POLICY = {
    "kind": "NetworkPolicy",
    "apiVersion": "projectcalico.org/v3",
    "metadata": {"name": "p", "namespace": "shop"},
    "spec": {"selector": "all()", "ingress": [{"action": "Allow"}]},
}


def test_a_good_document_has_no_faults() -> None:
    judgement = judge_document(POLICY)
    assert (judgement.identity, judgement.faults) == (("NetworkPolicy", "shop", "p"), ())


def test_unknown_fields_and_wrong_values_are_named_together() -> None:
    rule = {"action": "Allow", "sorce": {}, "destination": {"ports": [70000]}}
    wrong = {**POLICY, "spce": 1, "spec": {"selector": "a ==", "ingress": [rule]}}
    faults = {fault.field for fault in judge_document(wrong).faults}
    assert faults == {"spce", "spec.ingress[0].sorce", "spec.selector", "spec.ingress[0].destination.ports[0]"}


def test_unknown_fields_and_a_wrong_type_are_named_together() -> None:
    faults = {fault.field for fault in judge_document({**POLICY, "spce": 1, "spec": {"order": "soon"}}).faults}
    assert faults == {"spce", "spec.order"}


@pytest.mark.parametrize(
    ("raw", "field"),
    [(None, ""), ([], ""), ("text", ""), ({"kind": "Tyre"}, "kind"), ({"kind": "Tier"}, "apiVersion"), ({}, "kind")],
)
def test_what_is_no_resource_is_one_fault(raw: object, field: str) -> None:
    assert [fault.field for fault in judge_document(raw).faults] == [field]


@pytest.mark.parametrize("metadata", [None, 7, "x", [], {"name": 7}])
def test_metadata_of_a_wrong_shape_is_a_fault(metadata: object) -> None:
    assert judge_document({**POLICY, "metadata": metadata}).faults
