"""Mutation testing of the pure core: is every line held by a test?

``make mutants`` breaks ``rules`` and ``calc`` in one place at a time and runs the tests that matter. A mutant that no
test notices is a test that is missing, or it changes nothing that anybody could see; those are explained in
``survivors.md``. Ends with 1 when one survives without an explanation. One mutant at a time, so it needs one processor.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

sys.path.insert(0, str(Path(__file__).parent))
from calls import Calls, measured
from forks import Anew, Collected
from mutate import Mutant, mutants
from running import ROOT, source_of

EXPLAINED = Path(__file__).with_name("survivors.md")

_WORLDS = (
    "tests/unit/worlds/test_history_leaves_nothing.py",
    "tests/unit/worlds/test_regressions.py",
    "tests/unit/worlds/test_literal_reading.py",
    "tests/unit/worlds/test_model_and_evaluator_agree.py",
    "tests/unit/worlds/test_pairs.py",
)
TESTS = {package: [f"tests/unit/{package}", *_WORLDS] for package in ("rules", "calc")}
"""The tests of a package, and those that judge the whole."""

_WITNESSES = ("rules/reference/", "calc/spec", "calc/dataplane_state")
"""Specifications: they are what the tests hold the rest to, so a test of them would say what they say once more.
``dataplane_state`` is what ``spec`` recomputes and what refuses messages out of order; no product code uses it."""

TARGETS = [
    target
    for package in TESTS
    for path in sorted((ROOT / "src/calico" / package).rglob("*.py"))
    if path.name != "__init__.py"
    and not (target := path.relative_to(ROOT / "src/calico").with_suffix("").as_posix()).startswith(_WITNESSES)
]


def explained() -> set[str]:
    """The mutants in the file of survivors: lines that begin with a module and a change, in code marks."""
    text = EXPLAINED.read_text() if EXPLAINED.exists() else ""
    return {f"{module} {change}" for module, change in re.findall(r"^\* `(\S+)`: `` ?(.*?) ?``", text, re.M)}


def chosen(only: Sequence[str]) -> Iterator[str]:
    """The targets whose names contain one of the words; all without words."""
    return (target for target in TARGETS if not only or any(word in target for word in only))


class Judge:
    """Lets the tests of a package look at mutants. A context manager."""

    def __init__(self, tests: list[str], calls: Calls) -> None:
        self._calls = calls
        self._collected, self._anew = Collected(tests, calls), Anew(tests, calls)

    def __enter__(self) -> Self:
        self._collected.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._collected.__exit__(*error)

    def survives(self, target: str, mutant: Mutant) -> bool:
        """Whether no test notices the mutant. Tests that were collected before it are asked first: they are quick."""
        if mutant.function is not None and not self._collected.survives(target, mutant):
            return False
        return self._calls.tells(target, mutant) or self._anew.survives(target, mutant)


def judge(target: str, tests: Judge, known: set[str], again: set[str]) -> Counter[str]:
    """Judge all mutants of a module; prints those that survive. ``again``: only these."""
    counts = Counter[str]()
    for mutant in mutants(source_of(target)):
        name = f"{target} {mutant.change}"
        if again and name not in again:
            continue
        if name in known:
            counts["explained"] += 1
        elif tests.survives(target, mutant):
            counts["survived"] += 1
            print(f"SURVIVED {target}:{mutant.line}: {mutant.change}", flush=True)
        else:
            counts["killed"] += 1
    return counts


def stale(targets: Sequence[str], known: set[str]) -> list[str]:
    """What is explained of these modules and is no mutant of them any more."""
    there = {f"{target} {mutant.change}" for target in targets for mutant in mutants(source_of(target))}
    return sorted(name for name in known if name.split()[0] in targets and name not in there)


def main() -> int:
    """Print every survivor and, per module, how many mutants there were."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help="parts of module names, such as rules/lists")
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    parser.add_argument("--again", type=Path, help="look only at those that survived by this output of an earlier run")
    options = parser.parse_args()
    survived = re.findall(r"^SURVIVED (\S+):\d+: (.*)", options.again.read_text() if options.again else "", re.M)
    again = {f"{module} {change}" for module, change in survived}
    os.chdir(ROOT)
    targets = list(chosen(options.only))
    if options.list:
        for target in targets:
            for mutant in mutants(source_of(target)):
                print(f"{target}:{mutant.line}: {mutant.change}")
        return 0
    total = Counter[str]()
    for name in stale(targets, explained()):
        total["stale"] += 1
        print(f"STALE {name}")
    for package, tests in TESTS.items():
        if of_package := [target for target in targets if target.split("/")[0] == package]:
            total += judge_package(of_package, tests, again)
    print(f"all: {dict(total)}")
    return 1 if total["survived"] or total["stale"] else 0


def judge_package(targets: Sequence[str], tests: list[str], again: set[str]) -> Counter[str]:
    """Judge modules that have the same tests; prints what became of each."""
    calls = measured(tests)
    if calls is None:
        sys.exit(f"{' '.join(tests)}: they fail as it is")
    total = Counter[str]()
    with Judge(tests, calls) as judging:
        for target in targets:
            started = time.monotonic()
            counts = judge(target, judging, explained(), again)
            total += counts
            print(f"{target}: {dict(counts)} in {time.monotonic() - started:.0f} s", flush=True)
    return total


if __name__ == "__main__":
    sys.exit(main())
