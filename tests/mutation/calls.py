"""Which functions of the package each test calls, and how long it takes: so that a mutant meets few tests, quick ones
first."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Iterator
from cProfile import Profile
from functools import _lru_cache_wrapper
from types import CodeType
from typing import NamedTuple

import pytest
from mutate import Mutant
from running import ROOT, ended_well, fork, path_of, run_tests

__all__ = ["Calls", "Order", "measured"]

LEAST_S, TIMES = 5, 3
"""Seconds of processor time: a test may take the least and so many times what it takes without a mutant. A mutant that
makes it take longer is noticed."""

_SOURCES = str(ROOT / "src/calico")

Lines = dict[str, set[int]]
"""First lines of called functions by the path of their module."""


class Calls(NamedTuple):
    """``durations`` in seconds, and what was called, by the node id of a test; ``collecting``: while all of them were
    imported."""

    durations: dict[str, float]
    called: dict[str, Lines]
    collecting: Lines

    def tells(self, target: str, mutant: Mutant) -> bool:
        """Whether tests that were collected without the mutant tell of it."""
        return mutant.function is not None and not _within(self.collecting, target, mutant.function)

    def concerned(self, nodeid: str, target: str, mutant: Mutant) -> bool:
        """Whether a test could notice the mutant: it calls the function, or something else than a function differs."""
        return mutant.function is None or _within(self.called.get(nodeid, {}), target, mutant.function)


class Order:
    """A pytest plugin that chooses the tests that a mutant may concern and puts quick ones first, those of the module's
    own file before others that are not much quicker. It ends the process in a test that does not end."""

    def __init__(self, calls: Calls, target: str, mutant: Mutant) -> None:
        self._calls, self._target, self._mutant = calls, target, mutant
        _, *subpackage, name = target.split("/")
        self._own = [f"test_{name}.py", *(f"test_{package}_" for package in subpackage)]

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self._calls.tells(self._target, self._mutant):
            items[:] = [item for item in items if self._calls.concerned(item.nodeid, self._target, self._mutant)]
        items.sort(key=self._rank)

    def _rank(self, item: pytest.Item) -> float:
        return self._expected_s(item) * (0.1 if any(item.path.name.startswith(own) for own in self._own) else 1)

    def _expected_s(self, item: pytest.Item) -> float:
        return self._calls.durations.get(item.nodeid, 0.0)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        signal.setitimer(signal.ITIMER_PROF, LEAST_S + TIMES * self._expected_s(item))


def measured(tests: list[str]) -> Calls | None:
    """What the tests call; None when one fails."""
    read, write = os.pipe()

    def work() -> int:
        os.close(read)
        signal.setitimer(signal.ITIMER_PROF, 0)
        measuring = _Measuring()
        failed = run_tests(tests, measuring)
        with os.fdopen(write, "wb") as answer:
            pickle.dump(measuring.calls(), answer)
        return failed

    child = fork(work)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        data = answer.read()
    return pickle.loads(data) if ended_well(child) else None


class _Measuring:
    """A pytest plugin that notes what is called in each test. Nothing is remembered from one test to the next, so a
    test is seen to call also what an earlier one had called for it."""

    def __init__(self) -> None:
        self._durations: dict[str, float] = {}
        self._collecting: Lines = {}
        self._called: dict[str, Lines] = {}
        self._profile = Profile(subcalls=False, builtins=False)
        self._profile.enable()

    def calls(self) -> Calls:
        return Calls(self._durations, self._called, self._collecting)

    def pytest_collection_finish(self) -> None:
        self._collecting = self._noted()

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        _forget()
        self._profile.enable()
        yield
        self._called[item.nodeid] = self._noted()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._durations[report.nodeid] = self._durations.get(report.nodeid, 0.0) + report.duration

    def _noted(self) -> Lines:
        self._profile.disable()
        lines: Lines = {}
        for entry in self._profile.getstats():
            if isinstance(entry.code, CodeType) and entry.code.co_filename.startswith(_SOURCES):
                lines.setdefault(entry.code.co_filename, set()).add(entry.code.co_firstlineno)
        self._profile.clear()
        return lines


def _forget() -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith("calico."):
            for value in vars(module).values():
                if isinstance(value, _lru_cache_wrapper):
                    value.cache_clear()


def _within(lines: Lines, target: str, function: tuple[int, int]) -> bool:
    first, last = function
    return any(first <= line <= last for line in lines.get(str(path_of(target)), ()))
