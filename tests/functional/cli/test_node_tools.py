"""``calico node checksystem`` and ``calico node diags`` on this machine; ``calico node run`` shown only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from calico.dataplane.netns import list_netns

pytestmark = pytest.mark.etcd
Run = Callable[..., subprocess.CompletedProcess[str]]
SECRET = "s3cret-of-this-test"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a network namespace")
def test_what_is_needed_of_the_kernel_is_tried_out_and_nothing_is_left(calico: Run) -> None:
    done = calico("node", "checksystem", "-o", "json")
    document = json.loads(done.stdout)
    features = {feature["name"]: feature for feature in document["features"]}
    assert (done.returncode, document["ready"]) == (0, True), document
    assert {"nftables", "conntrack", "veth", "routes", "sysctls", "BIRD 2"} <= set(features)
    assert all(feature["present"] for feature in features.values() if feature["required"])
    assert not [name for name in list_netns() if name.startswith("calico-check")]
    assert "This host can run Calico" in calico("node", "checksystem").stdout


def test_the_bundle_holds_no_secrets_and_is_for_its_owner_only(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "bird.conf").write_text(f'protocol bgp p {{\n  password "{SECRET}";\n  hold time 9;\n}}\n')
    secrets = {"ETCD_PASSWORD": SECRET, "ETCD_USERNAME": "felix", "FELIX_SOMETOKEN": SECRET}
    command = [sys.executable, "-m", "calico", "node", "diags", "--run-dir", str(run_dir), "--log-dir", str(tmp_path)]
    done = subprocess.run(
        command, env={**os.environ, **secrets}, capture_output=True, text=True, check=True, timeout=100
    )
    (bundle,) = tmp_path.glob("calico-diags-*.tar.gz")
    assert str(bundle) in done.stdout
    assert bundle.stat().st_mode & 0o777 == 0o600
    with tarfile.open(bundle) as archive:
        files = {Path(entry.name).name: archive.extractfile(entry).read().decode() for entry in archive}  # type: ignore[union-attr]
    assert not [name for name, text in files.items() if SECRET in text]
    assert "hold time 9;" in files["bird.conf"]
    settings = json.loads(files["settings.json"])
    assert settings["environment"]["FELIX_SOMETOKEN"] == "(set)"
    assert (settings["datastore"]["username"], settings["datastore"]["password"]) == ("felix", "(set)")
    assert "status-felix.json: no daemon answers" in files["missing.txt"]
    assert json.loads(files["versions.json"])["calico"]


def test_a_dry_run_shows_the_node_and_the_commands(calico: Run, tmp_path: Path) -> None:
    done = calico("node", "run", "--dry-run", "--name", "h9", "--ip", "192.0.2.9/24", "--as", "64513")
    assert done.returncode == 0, done.stderr
    assert "192.0.2.9/24" in done.stdout
    assert "64513" in done.stdout
    assert [line.split()[3] for line in done.stdout.splitlines() if " -m calico " in line] == ["felix", "bgp"]
    alone = calico("node", "run", "--dry-run", "--name", "h9", "--ip", "none", "--backend", "none")
    assert " bgp " not in alone.stdout
    undetected = calico("node", "run", "--dry-run", "--ip-autodetection-method", "interface=nosuch")
    assert (undetected.returncode, "--ip" in undetected.stderr) == (1, True)
    assert calico("get", "node", "h9").returncode == 1
