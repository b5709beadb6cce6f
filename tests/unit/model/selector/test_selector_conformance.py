"""The selector language against the published cases (read in place, see shared/conformance)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from calico.errors import InvalidInput
from calico.model.selector import Restriction, parse
from calico.model.selector.lexer import tokenize

CASES_FILE = Path(__file__).resolve().parents[4].parent / "shared" / "conformance" / "selector.json"


@pytest.fixture(scope="module")
def cases() -> dict[str, Any]:
    if not CASES_FILE.exists():
        pytest.skip(f"{CASES_FILE} is absent")
    loaded: dict[str, Any] = json.loads(CASES_FILE.read_text())
    return loaded


def test_published_selectors_match_the_published_labels(cases: dict[str, Any]) -> None:
    for case in cases["eval"]:
        selector = parse(case["selector"])
        for one in (selector, parse(selector.canonical)):
            assert all(one.matches(labels) for labels in case["match"]), case
            assert not any(one.matches(labels) for labels in case["no_match"]), case


def test_published_malformed_selectors_are_refused(cases: dict[str, Any]) -> None:
    for text in cases["bad"]:
        with pytest.raises(InvalidInput):
            parse(text)


def test_published_canonical_forms_and_ids_are_reproduced(cases: dict[str, Any]) -> None:
    for case in cases["canonical"]:
        selector = parse(case["input"])
        assert selector.canonical == case["canonical"]
        assert case["uid"] in (None, selector.uid)


def test_published_prefixing_is_reproduced(cases: dict[str, Any]) -> None:
    for case in cases["prefix_visitor"]:
        assert parse(case["input"]).prefixed(case["prefix"]).canonical == case["output"]


def test_published_token_streams_are_reproduced(cases: dict[str, Any]) -> None:
    for case in cases["tokens"]:
        if case.get("error"):
            with pytest.raises(InvalidInput):
                tokenize(case["input"])
            continue
        expected = [(token["kind"], token.get("value", "")) for token in case["tokens"]]
        assert [(token.kind.value, token.value) for token in tokenize(case["input"])] == expected


def test_published_label_restrictions_are_reproduced(cases: dict[str, Any]) -> None:
    for case in cases["label_restrictions"]:
        expected = {}
        for label, r in case["restrictions"].items():
            values = frozenset(r["MustHaveOneOfValues"]) if "MustHaveOneOfValues" in r else None
            expected[label] = Restriction(r.get("MustBePresent", False), r.get("MustBeAbsent", False), values)
        assert parse(case["selector"]).restrictions() == expected, case
