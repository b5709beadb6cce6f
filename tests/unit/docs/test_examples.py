"""What the documentation shows is accepted as it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from calico.datastore.core.cluster import parse_core
from calico.lab.topology import parse_topology
from calico.model.defaults import with_defaults
from calico.model.manifest import to_resource
from calico.model.selector import parse
from calico.model.validation import validate

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "howto").glob("*.md"))]


def documents(page: Path) -> Iterator[tuple[str, object]]:
    blocks = re.findall(r"```yaml\n(.*?)```|<<'YAML'\n(.*?)\nYAML", page.read_text(), re.DOTALL)
    for number, block in enumerate(blocks):
        for document in yaml.safe_load_all("".join(block)):
            yield f"{page.name} block {number}", document


EXAMPLES = [example for page in PAGES for example in documents(page)]


def test_there_are_resources_to_check() -> None:
    assert {where.partition(" ")[0] for where, _ in EXAMPLES} >= {"README.md", "policy.md", "run-on-a-host.md"}


@pytest.mark.parametrize(("where", "document"), EXAMPLES)
def test_a_resource_or_topology_in_the_documentation_is_valid(where: str, document: object) -> None:
    if isinstance(document, dict) and "hosts" in document:
        assert parse_topology(yaml.safe_dump(document)).hosts
    elif isinstance(document, dict) and "members" in document:
        assert parse_core(yaml.safe_dump(document), where).members
    else:
        resource = to_resource(where, document, "default")
        assert list(validate(with_defaults(resource))) == []


def test_every_selector_in_the_policy_howto_parses() -> None:
    section = (ROOT / "docs" / "howto" / "policy.md").read_text().partition("## Selectors")[2].partition("\n## ")[0]
    shown = [text for text in re.findall(r"`([^`]+)`", section) if re.search(r"'|\(", text)]
    assert len(shown) > 5
    for text in shown:
        parse(text)


@pytest.mark.parametrize("path", sorted((ROOT / "examples" / "lab").glob("*.yaml")), ids=lambda path: path.name)
def test_an_example_topology_is_accepted(path: Path) -> None:
    assert parse_topology(path.read_bytes()).hosts


def test_every_relative_link_leads_to_a_file() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []
