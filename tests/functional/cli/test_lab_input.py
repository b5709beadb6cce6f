"""``calico lab`` refuses wrong input before it touches anything, and names what is wrong."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.etcd
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    ("text", "field"),
    [("a: [b", "not YAML"), ("- 1", "must be a mapping"), ("name: x\nhosts: {}\n", "hosts"), ("name: A/B\n", "")],
)
def test_a_wrong_topology_is_named_by_its_file(calico: Run, tmp_path: Path, text: str, field: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    done = calico("lab", "up", str(path))
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {path}: ")
    assert field in done.stderr


@pytest.mark.parametrize("seconds", ["0", "-1"])
@pytest.mark.parametrize("command", [("probe",), ("add-workload", "w", "--host", "h")])
def test_a_measurement_or_wait_needs_some_time(calico: Run, command: tuple[str, ...], seconds: str) -> None:
    done = calico("lab", *command, "--lab", "nosuch", "--timeout", seconds)
    assert (done.returncode, "--timeout" in done.stderr) == (2, True)
