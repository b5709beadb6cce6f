"""docs/security.md states every property, and the tests that it names are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from calico.cli.audit.findings import PROPERTIES

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "security.md").read_text()
SECTIONS = dict(re.findall(r"^## (S\d+)\. .*\n((?:(?!^## ).*\n?)*)", PAGE, re.MULTILINE))
ALL = [f"S{number}" for number in range(1, 33)]


def named(section: str) -> list[tuple[str, str]]:
    return re.findall(r"^\* `(tests/\S+\.py)::(test_\w+)`$", SECTIONS[section], re.MULTILINE)


def test_every_property_is_stated_once_and_in_order() -> None:
    assert re.findall(r"^## (S\d+)\. ", PAGE, re.MULTILINE) == ALL


@pytest.mark.parametrize("section", ALL)
def test_a_property_is_proved_by_tests_that_exist(section: str) -> None:
    assert named(section), f"{section} names no test"
    for path, name in named(section):
        tree = ast.parse((ROOT / path).read_text())
        found = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert name in found, f"{path} has no {name}"


def test_the_page_says_which_properties_are_audited() -> None:
    assert {section for section, text in SECTIONS.items() if "*Audited.*" in text} == PROPERTIES.keys()
