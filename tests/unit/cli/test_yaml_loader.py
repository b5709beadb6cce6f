"""Deep nesting in a file is an error, never the end of the process."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml

from calico.cli.documents.yaml_loader import loader_for

DEEP = {
    "brackets": "[" * 100_000,
    "closed brackets": "a: " + "[" * 50_000 + "]" * 50_000,
    "over lines": "[\n" * 50_000,
    "closed too early": "]" * 9 + "{a: " * 50_000,
    "dashes": "- " * 50_000 + "a",
    "questions": "? " * 50_000 + "a",
    "indentation": "".join(f"{' ' * depth}a:\n" for depth in range(3_000)),
}
READ = "import sys; from calico.cli.documents.reading import read_documents; list(read_documents(['-']))"


@pytest.mark.parametrize("name", DEEP)
def test_what_is_nested_deeply_is_refused_with_words(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ], input=DEEP[name], capture_output=True, text=True, check=False, timeout=100
    )
    assert (done.returncode, "is not YAML or JSON" in done.stderr) == (1, True), done.stderr[-300:]


def test_ordinary_documents_are_read_by_the_fast_loader() -> None:
    text = yaml.safe_dump([{"spec": {"selector": "a in {'x', 'y'} && b == '['", "nets": ["10.0.0.0/8"] * 400}}] * 50)
    assert loader_for(text) is getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    assert yaml.load(text, Loader=loader_for(text))[0]["spec"]["nets"][399] == "10.0.0.0/8"
