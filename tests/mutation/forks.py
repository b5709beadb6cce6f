"""Processes in which tests meet a mutant: forks of one that has collected the tests, or of one that has nothing yet.

The first is quick: code of functions is exchanged in place, so nothing is imported or collected again. What runs when
a module is imported can only be seen by the second.
"""

from __future__ import annotations

import gc
import importlib.abc
import importlib.util
import os
import pickle
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType, ModuleType, TracebackType
from typing import Any, Self

import pytest
from calls import Calls, Order
from mutate import Mutant
from running import ended_well, fork, name_of, path_of, quiet, run_tests

__all__ = ["Anew", "Collected"]


class Anew:
    """Tests in a process that imports everything, with the mutant in place of the module."""

    def __init__(self, tests: list[str], calls: Calls) -> None:
        self._tests, self._calls = tests, calls

    def survives(self, target: str, mutant: Mutant) -> bool:
        """Whether all tests pass."""
        code = _compiled(target, mutant)

        def work() -> int:
            sys.meta_path.insert(0, _Replaced(name_of(target), path_of(target), code))
            return run_tests(self._tests, Order(self._calls, target, mutant))

        return ended_well(fork(work))


class Collected:
    """A process that has collected the tests; it forks for every mutant. A context manager."""

    def __init__(self, tests: list[str], calls: Calls) -> None:
        self._tests, self._calls = tests, calls

    def __enter__(self) -> Self:
        (read_request, self._requests), (self._answers, write_answer) = os.pipe(), os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._requests)
            quiet()
            run_tests(self._tests, _Server(self._calls, read_request, write_answer))
            os._exit(0)
        os.close(read_request)
        os.close(write_answer)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        os.close(self._requests)
        os.waitpid(self._pid, 0)
        os.close(self._answers)

    def survives(self, target: str, mutant: Mutant) -> bool:
        """Whether all tests that it concerns pass, or the module cannot be exchanged."""
        data = pickle.dumps((target, mutant))
        os.write(self._requests, len(data).to_bytes(4, "big"))
        while data:
            data = data[os.write(self._requests, data) :]
        return os.read(self._answers, 1) == b"s"


class _Server:
    """A pytest plugin that runs the collected tests once for every mutant that it is told of."""

    def __init__(self, calls: Calls, requests: int, answers: int) -> None:
        self._calls, self._requests, self._answers = calls, requests, answers

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        gc.freeze()
        while header := os.read(self._requests, 4):
            size, data = int.from_bytes(header, "big"), b""
            while len(data) < size:
                data += os.read(self._requests, size - len(data))
            target, mutant = pickle.loads(data)

            def work(target: str = target, mutant: Mutant = mutant) -> int:
                try:
                    _exchange(sys.modules[name_of(target)], _compiled(target, mutant))
                except Exception:
                    return 0
                order = Order(self._calls, target, mutant)
                order.pytest_collection_modifyitems(session.items)
                session.config.pluginmanager.register(order)
                return _first_failure(session)

            os.write(self._answers, b"s" if ended_well(fork(work)) else b"k")
        return True


def _first_failure(session: pytest.Session) -> int:
    """1 as soon as a test fails, 0 when none does."""
    for index, item in enumerate(session.items):
        following = session.items[index + 1] if index + 1 < len(session.items) else None
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            return 1
    return 0


def _exchange(module: ModuleType, code: CodeType) -> None:
    """Give all functions and methods of a module the code that they have in another version of it."""
    made = ModuleType(module.__name__)
    made.__file__ = module.__file__
    exec(code, made.__dict__)  # noqa: S102
    others = dict(_functions(made))
    for name, function in _functions(module):
        function.__code__ = others[name].__code__
        function.__defaults__ = others[name].__defaults__
        function.__kwdefaults__ = others[name].__kwdefaults__


def _functions(module: ModuleType) -> Iterator[tuple[str, FunctionType]]:
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if isinstance(value, type):
            for attribute, member in vars(value).items():
                function = getattr(member, "fget", getattr(member, "__func__", member))
                if isinstance(function, FunctionType):
                    yield f"{name}.{attribute}", function
        elif isinstance(function := getattr(value, "__wrapped__", value), FunctionType):
            yield name, function


class _Replaced(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a code object instead of its file."""

    def __init__(self, name: str, path: Path, code: CodeType) -> None:
        self._name, self._path, self._code = name, path, code

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        return importlib.util.spec_from_loader(name, self, origin=str(self._path)) if name == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(self._path)
        exec(self._code, module.__dict__)  # noqa: S102


def _compiled(target: str, mutant: Mutant) -> CodeType:
    return compile(mutant.tree, str(path_of(target)), "exec")
