"""Design notes name the tests that show what they claim: those exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_every_test_that_a_design_note_names_is_there() -> None:
    files = list((ROOT / "tests").rglob("test_*.py"))
    there = {name for path in files for name in (path.name, path.stem)}
    there |= {name for path in files for name in re.findall(r"def (test_\w+)", path.read_text())}
    upstream = (ROOT / "tests" / "upstream").rglob("*.py")  # what of others' tests is left out is named there
    there |= {name for path in upstream for name in re.findall(r"\btest_\w+", path.read_text())}
    named = {
        (note.name, name)
        for note in (ROOT / "docs").rglob("*.md")
        for name in re.findall(r"\btest_\w+(?:\.py)?", note.read_text())
    }
    assert len(named) > 50
    assert sorted(pair for pair in named if pair[1] not in there) == []
