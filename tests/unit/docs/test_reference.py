"""The generated reference is what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from calico.cli.main import COMMANDS
from calico.felix.config.parameters import PARAMETERS
from calico.obs.conditions import CATALOGUE

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["felix-parameters.md", "conditions.md", "metrics.md", "cli.md"])
def test_a_committed_page_says_what_the_code_declares(generate: ModuleType, page: str) -> None:
    written = (DOCS / "reference" / page).read_text()
    assert written == generate.PAGES[page](), "out of date: run python docs/generate.py and commit docs/reference"


def test_the_check_names_a_page_that_was_changed(
    generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "REFERENCE", tmp_path)
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    (tmp_path / "cli.md").write_text("changed by hand")
    assert generate.stale_pages() == ["cli.md"]
    assert generate.main(["--check"]) == 1


def test_every_declared_name_is_on_its_page(generate: ModuleType) -> None:
    pages = {name: render() for name, render in generate.PAGES.items()}
    parameters, conditions, commands = (pages[f"{name}.md"] for name in ("felix-parameters", "conditions", "cli"))
    assert all(f"`{parameter.key}`" in parameters for parameter in PARAMETERS)
    assert all(f"`{code}`" in conditions for code in CATALOGUE)
    assert all(f"## calico {name}" in commands for name in COMMANDS)
