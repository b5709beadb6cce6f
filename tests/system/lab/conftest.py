"""Labs for system tests: each has a name of its own and is taken down whatever happens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml


class LabCommand:
    """The ``calico lab`` command, as a person would type it, on one lab."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self._directory = directory

    def run(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "calico", "lab", *args]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(args)} failed with {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def up(self, topology: dict[str, Any], *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        path = self._directory / f"{self.name}.yaml"
        path.write_text(yaml.safe_dump({"name": self.name, **topology}))
        return self.run("up", str(path), *args, check=check)

    def down(self) -> None:
        self.run("down", self.name)

    def status(self) -> dict[str, Any]:
        return json.loads(self.run("status", "-l", self.name, "-o", "json").stdout)

    def probe(self, *args: str) -> dict[tuple[str, str, str, int], bool]:
        """(from, to, protocol, family) -> reachable"""
        rows = json.loads(self.run("probe", "-l", self.name, "-o", "json", *args).stdout)
        return {(r["src"], r["dst"], r["protocol"], r["family"]): r["reachable"] for r in rows}

    def traces(self) -> list[str]:
        """What there is of the lab on this machine: namespaces, files and processes."""
        found = [f"netns {e.name}" for e in Path("/run/netns").glob(f"cl-{self.name}-*")]
        found += [f"file {e}" for e in Path("/run/calico-lab").glob(f"{self.name}*")]
        mark = f"CALICO_LAB_DAEMON={self.name}".encode()
        for entry in os.listdir("/proc"):
            try:
                words = Path("/proc", entry, "environ").read_bytes().split(b"\0") if entry.isdigit() else []
            except OSError:
                continue
            if mark in words:
                found.append(f"process {entry}")
        return found


@pytest.fixture
def new_lab(tmp_path: Path) -> Iterator[Callable[[], LabCommand]]:
    """Makes the command for a lab with a new name."""
    made: list[LabCommand] = []

    def make() -> LabCommand:
        made.append(LabCommand(f"t{uuid.uuid4().hex[:8]}", tmp_path))
        return made[-1]

    yield make
    for lab in made:
        lab.run("down", lab.name, check=False)


@pytest.fixture
def lab(new_lab: Callable[[], LabCommand]) -> LabCommand:
    """The command for one lab."""
    return new_lab()
