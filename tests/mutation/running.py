"""Running tests in forks of this process."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import hypothesis
import msgspec  # noqa: F401 - imported once, for all forks
import pytest
import structlog  # noqa: F401
import yaml  # noqa: F401

__all__ = ["ROOT", "ended_well", "fork", "name_of", "path_of", "quiet", "run_tests", "source_of"]

ROOT = Path(__file__).parents[2]
COLLECTING_S = 60
"""Seconds of processor time: importing that takes longer is taken for endless."""

EXAMPLES = 15
"""At most so many of a property: what takes more to be noticed deserves a test of its own."""

MEMORY = 4 << 30
"""Bytes that a fork may take."""


def path_of(target: str) -> Path:
    """The file of a module such as ``rules/lists``."""
    return ROOT / "src/calico" / f"{target}.py"


def name_of(target: str) -> str:
    """The name by which a module such as ``rules/lists`` is imported."""
    return "calico." + target.replace("/", ".")


def source_of(target: str) -> str:
    """The text of a module such as ``rules/lists``."""
    return path_of(target).read_text()


def run_tests(tests: list[str], *plugins: object) -> int:
    """The same each time: no chance, no shrinking, no memory of earlier runs; ends at the first failure."""
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    no_haste = {"deadline": None, "suppress_health_check": list(hypothesis.HealthCheck)}
    hypothesis.settings.register_profile("mutants", derandomize=True, database=None, phases=phases, **no_haste)
    hypothesis.settings.load_profile("mutants")
    os.environ |= {"WORLDS_SEED": "mutants", "WORLDS": "few", "WORLDS_REGRESSIONS": "none"}
    unasked = ["-p", "no:randomly", "-p", "no:cacheprovider", "-o", "timeout=0"]
    rewritten = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # Hypothesis is imported already
    options = ["-x", "-q", "--no-header", *unasked, *rewritten]
    return int(pytest.main([*options, *tests], plugins=[_FewExamples(), *plugins]))


class _FewExamples:
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            test = getattr(item, "obj", None)
            if hypothesis.is_hypothesis_test(test):
                given = test._hypothesis_internal_use_settings
                few = hypothesis.settings(given, max_examples=min(given.max_examples, EXAMPLES))
                test._hypothesis_internal_use_settings = few


def fork(work: Callable[[], int]) -> int:
    """The id of a process that does the work, prints nothing, and ends with its result or, by an exception, with 3."""
    child = os.fork()
    if child == 0:
        signal.setitimer(signal.ITIMER_PROF, COLLECTING_S)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        quiet()
        try:
            os._exit(int(work()))
        except BaseException:
            os._exit(3)
    return child


def ended_well(child: int) -> bool:
    """Wait for a process: did it end with 0?"""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def quiet() -> None:
    """What this process prints goes nowhere."""
    output = os.open(os.devnull, os.O_WRONLY)
    os.dup2(output, 1)
    os.dup2(output, 2)
