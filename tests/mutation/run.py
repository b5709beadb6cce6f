"""Mutation testing of the pure core: is every line held by a test?

``make mutants`` breaks ``rules`` and ``calc`` in one place at a time and runs the tests that matter. A mutant that no
test notices is a test that is missing, or it changes nothing that anybody could see; those are explained in
``survivors.md``. Ends with 1 when one survives without an explanation.

Every mutant runs in a fork of this process, which has imported what tests need but nothing of Calico. One at a time.
"""

from __future__ import annotations

import argparse
import ast
import importlib.abc
import importlib.util
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import hypothesis
import msgspec  # noqa: F401 - imported once, for all forks
import pytest
import structlog  # noqa: F401
import yaml  # noqa: F401

sys.path.insert(0, str(Path(__file__).parent))
from mutate import Mutant, mutants

ROOT = Path(__file__).parents[2]
EXPLAINED = Path(__file__).with_name("survivors.md")
TIMEOUT_S = 120

_WORLDS = [
    "tests/unit/worlds/test_regressions.py",
    "tests/unit/worlds/test_pairs.py",
    "tests/unit/worlds/test_literal_reading.py",
    "tests/unit/worlds/test_model_and_evaluator_agree.py",
]
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
    package, name = target.split("/")
    own = f"tests/unit/{package}/test_{name}.py"
    first = [own] if (ROOT / own).exists() else []
    return [*first, f"tests/unit/{package}", *(test for test in _WORLDS if (ROOT / test.split("::")[0]).exists())]


class Replaced(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a code object instead of its file."""

    def __init__(self, name: str, path: Path, code: CodeType) -> None:
        self._name, self._path, self._code = name, path, code

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        return importlib.util.spec_from_loader(name, self, origin=str(self._path)) if name == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(self._path)
        exec(self._code, module.__dict__)  # noqa: S102


def survives(target: str, mutant: Mutant) -> bool:
    """Run the tests over a mutant; whether they all pass. One that runs for too long is noticed, too."""
    path = ROOT / "src/calico" / f"{target}.py"
    code = compile(mutant.tree, str(path), "exec")
    child = os.fork()
    if child == 0:
        signal.alarm(TIMEOUT_S)
        output = os.open(os.devnull, os.O_WRONLY)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.meta_path.insert(0, Replaced("calico." + target.replace("/", "."), path, code))
        os._exit(int(run_tests(tests_of(target))))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def run_tests(tests: list[str]) -> int:
    """The same each time: no chance, no shrinking, no memory of earlier runs; ends at the first failure."""
    quiet = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # Hypothesis is imported already
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    hypothesis.settings.register_profile("mutants", derandomize=True, database=None, phases=phases)
    hypothesis.settings.load_profile("mutants")
    os.environ |= {"WORLDS_SEED": "mutants", "WORLDS_REGRESSIONS": "none", "WORLDS": "few"}
    return pytest.main([*tests, "-x", "-q", "--no-header", "-p", "no:randomly", "-p", "no:cacheprovider", *quiet])


def explained() -> set[str]:
    """The mutants in the file of survivors: lines that begin with a module and a change, in code marks."""
    text = EXPLAINED.read_text() if EXPLAINED.exists() else ""
    return {f"{module} {change}" for module, change in re.findall(r"^\* `(\S+)`: `` ?(.*?) ?``", text, re.M)}


def chosen(only: Sequence[str]) -> Iterator[str]:
    """The targets whose names contain one of the words; all without words."""
    return (target for target in TARGETS if not only or any(word in target for word in only))


def main() -> int:
    """Print every survivor and, per module, how many mutants there were."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help="parts of module names, such as rules/lists")
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    options = parser.parse_args()
    os.chdir(ROOT)
    known, unexplained, total = explained(), 0, Counter[str]()
    for target in chosen(options.only):
        started, counts = time.monotonic(), Counter[str]()
        source = (ROOT / "src/calico" / f"{target}.py").read_text()
        if not options.list and not survives(target, Mutant("", 0, ast.parse(source))):
            print(f"{target}: its tests fail as it is")
            return 2
        for mutant in mutants(source):
            if options.list:
                print(f"{target}:{mutant.line}: {mutant.change}")
                continue
            if f"{target} {mutant.change}" in known:
                counts["explained"] += 1
            elif survives(target, mutant):
                counts["survived"] += 1
                print(f"SURVIVED {target}:{mutant.line}: {mutant.change}", flush=True)
            else:
                counts["killed"] += 1
        total += counts
        unexplained += counts["survived"]
        print(f"{target}: {dict(counts)} in {time.monotonic() - started:.0f} s", flush=True)
    print(f"all: {dict(total)}")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
