"""Patches as plain data."""

from typing import Any

import pytest

from calico.client.patching import apply_patch, json_patch, merge_patch, strategic_patch
from calico.errors import InvalidInput

# RFC 7396, appendix A
RFC_CASES: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), RFC_CASES)
def test_a_merge_patch_does_what_its_rfc_shows(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch(target, patch) == result


def test_a_strategic_patch_replaces_and_deletes_whole_objects_when_told() -> None:
    document = {"spec": {"a": 1, "b": {"x": 1, "y": 2}, "rules": [1, 2]}}
    assert strategic_patch(document, {"spec": {"b": {"$patch": "replace", "z": 3}}})["spec"]["b"] == {"z": 3}
    assert "b" not in strategic_patch(document, {"spec": {"b": {"$patch": "delete"}}})["spec"]
    assert strategic_patch(document, {"spec": {"rules": [3], "a": None}})["spec"] == {
        "b": {"x": 1, "y": 2},
        "rules": [3],
    }


def test_a_json_patch_is_applied_whole_or_not_at_all() -> None:
    document = {"spec": {"nets": ["10.0.0.0/8"]}}
    patch = [{"op": "add", "path": "/spec/nets/-", "value": "fd00::/8"}, {"op": "remove", "path": "/spec/nets/0"}]
    assert json_patch(document, patch) == {"spec": {"nets": ["fd00::/8"]}}
    for wrong in (
        [{"op": "test", "path": "/spec/nets/0", "value": "x"}],
        [{"op": "remove", "path": "/none"}],
        {"a": 1},
    ):
        with pytest.raises(InvalidInput, match="patch"):
            json_patch(document, wrong)
    assert document == {"spec": {"nets": ["10.0.0.0/8"]}}


@pytest.mark.parametrize("patch_type", ["merge", "strategic"])
def test_a_patch_that_is_no_object_is_refused(patch_type: Any) -> None:
    with pytest.raises(InvalidInput, match="is an object"):
        apply_patch({}, [1], patch_type)


@pytest.mark.parametrize("patch", [{"$patch": "explode"}, {"$retainKeys": ["a"]}])
def test_directives_without_meaning_are_named(patch: Any) -> None:
    with pytest.raises(InvalidInput, match=r"\$|explode"):
        strategic_patch({}, patch)
