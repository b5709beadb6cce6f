"""The units as systemd itself reads them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from calico.cli.node.install import install_tree
from calico.cli.node.layout import UNITS

MOST_EXPOSED = 3.2
"""Of 10, as systemd counts: the most exposed is the CNI daemon, which enters namespaces of containers."""

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed units, with a program that is there."""
    root = tmp_path_factory.mktemp("units")
    install_tree(root, "h1", "/opt/calico/bin/calico")
    directory = root / "etc/systemd/system"
    for path in directory.iterdir():
        path.write_text(path.read_text().replace("/usr/bin/calico", str(Path(sys.executable).with_name("calico"))))
    return directory


@needs_systemd
def test_systemd_finds_nothing_wrong_with_the_units(units: Path) -> None:
    paths = [str(units / name) for name in UNITS]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *paths],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:"},
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if "calico" in line]
    assert said == []
    assert done.returncode == 0, done.stderr


@needs_systemd
@pytest.mark.parametrize("name", [name for name in UNITS if name.endswith(".service")])
def test_a_service_is_exposed_no_more_than_its_work_needs(units: Path, name: str) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(units / name)]
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", shown)
    assert found is not None, shown
    assert float(found[1]) <= MOST_EXPOSED
