"""Mutation testing of the pure core: is every line held by a test?

``make mutants`` breaks ``rules`` and ``calc`` in one place at a time and runs the tests that matter. A mutant that no
test notices is a test that is missing, or it changes nothing that anybody could see; those are explained in
``survivors.md``. Ends with 1 when one survives without an explanation. One mutant at a time, so it needs one processor.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from forks import ROOT, Anew, Collected, source_of
from mutate import Mutant, mutants

EXPLAINED = Path(__file__).with_name("survivors.md")

_WORLDS = (
    "tests/unit/worlds/test_history_leaves_nothing.py",
    "tests/unit/worlds/test_regressions.py",
    "tests/unit/worlds/test_literal_reading.py",
    "tests/unit/worlds/test_model_and_evaluator_agree.py",
    "tests/unit/worlds/test_pairs.py",
)
_RULES = (
    "lists match portmatch policy chains dispatch static antispoof guards ipsets cover constants loads names room "
    "table ruleset config"
)
_CALC = (
    "compile_rules compile_entity policy_order policies labels members net_cover sequencer endpoints netsets "
    "interface_claims policy_index port_members selector_index graph"
)
TARGETS = [f"rules/{name}" for name in _RULES.split()] + [f"calc/{name}" for name in _CALC.split()]


def tests_of(target: str) -> list[str]:
    """The tests of a module: its own file first, then its package's, then those that judge the whole."""
    package, name = target.split("/")[0], target.split("/")[-1]
    own = f"tests/unit/{package}/test_{name}.py"
    return [*([own] if (ROOT / own).exists() else []), f"tests/unit/{package}", *_WORLDS]


def explained() -> set[str]:
    """The mutants in the file of survivors: lines that begin with a module and a change, in code marks."""
    text = EXPLAINED.read_text() if EXPLAINED.exists() else ""
    return {f"{module} {change}" for module, change in re.findall(r"^\* `(\S+)`: `` ?(.*?) ?``", text, re.M)}


def chosen(only: Sequence[str]) -> Iterator[str]:
    """The targets whose names contain one of the words; all without words."""
    return (target for target in TARGETS if not only or any(word in target for word in only))


def judge(target: str, known: set[str], again: set[str]) -> Counter[str]:
    """Let the tests of a module look at all its mutants; prints those that survive. What a collected run does not
    notice is looked at anew: a function may have been called when its module was imported. ``again``: only these."""
    counts = Counter[str]()
    anew = Anew(target, tests_of(target))
    if not anew.survives(Mutant("", 0, ast.parse(source_of(target)), False)):
        sys.exit(f"{target}: its tests fail as it is")
    with Collected(target, tests_of(target)) as collected:
        for mutant in mutants(source_of(target)):
            if again and f"{target} {mutant.change}" not in again:
                continue
            if f"{target} {mutant.change}" in known:
                counts["explained"] += 1
            elif (not mutant.in_function or collected.survives(mutant)) and anew.survives(mutant):
                counts["survived"] += 1
                print(f"SURVIVED {target}:{mutant.line}: {mutant.change}", flush=True)
            else:
                counts["killed"] += 1
    return counts


def main() -> int:
    """Print every survivor and, per module, how many mutants there were."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help="parts of module names, such as rules/lists")
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    parser.add_argument("--again", type=Path, help="look only at those that survived by this output of an earlier run")
    options = parser.parse_args()
    again = set(re.findall(r"^SURVIVED (\S+):\d+: (.*)", options.again.read_text(), re.M)) if options.again else set()
    os.chdir(ROOT)
    total = Counter[str]()
    for target in chosen(options.only):
        if options.list:
            for mutant in mutants(source_of(target)):
                print(f"{target}:{mutant.line}: {mutant.change}")
            continue
        started = time.monotonic()
        counts = judge(target, explained(), {f"{module} {change}" for module, change in again})
        total += counts
        print(f"{target}: {dict(counts)} in {time.monotonic() - started:.0f} s", flush=True)
    print(f"all: {dict(total)}")
    return 1 if total["survived"] else 0


if __name__ == "__main__":
    sys.exit(main())
