"""``calico node uninstall`` leaves nothing, whatever is left to take away, and names what it takes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from felix_world import World, resource, until

from calico.cli.node.layout import UNIT_SOURCES
from calico.dataplane.netns import in_netns

OTHER_NETWORK = '{"name": "k8s", "plugins": [{"type": "calico", "datastore_type": "kubernetes"}]}'
BIRD = """router id 192.0.2.1;
protocol device {{ }}
protocol kernel {{ ipv4 {{ export all; }}; persist; }}
protocol static {{ ipv4; route 10.99.0.0/16 via 192.0.2.2; }}
"""


def snapshot(world: World) -> dict[str, str]:
    """The kernel's state of a host, all of which we might have changed."""
    found = {}
    for command in ("addr", "link", "maddr", "-4 rule", "-6 rule", "-4 route show table all", "-6 route show table all",
                    "neigh show nud permanent", "neigh show proxy"):  # fmt: skip
        found[command] = world.show("h", command)
    words = [*world.enter("h"), "sh", "-c", "tc qdisc; tc filter show dev calia ingress; nft list ruleset"]
    found["tc and nft"] = subprocess.run(words, text=True, capture_output=True, check=True).stdout
    found |= in_netns(world.netns("h"), settings)
    return found


def settings() -> dict[str, str]:
    found = {}
    for pattern in ("ipv4/conf/*/*", "ipv6/conf/*/*", "ipv4/neigh/*/*", "ipv6/neigh/*/*", "ipv4/ip_forward"):
        for path in Path("/proc/sys/net").glob(pattern):
            try:
                found[str(path)] = path.read_text()
            except OSError:
                continue
    return found


class Installed:
    """A host with all of Calico on it."""

    def __init__(self, world: World, directory: Path) -> None:
        self.world, self.directory = world, directory
        self.dirs = {name: directory / name for name in ("units", "state", "bin", "net.d")}
        for path in self.dirs.values():
            path.mkdir()
        self.before = snapshot(world)
        world.start_etcd()
        world.cluster()
        limits = {"ingressBandwidth": 50_000_000, "egressBandwidth": 40_000_000}
        node = resource("Node", "h1", {"bgp": {"ipv4Address": "192.0.2.1/24"}})
        pool = resource("IPPool", "tunnelled", {"cidr": "10.66.0.0/16", "vxlanMode": "Always"})
        world.apply(node, pool, world.endpoint("a", qosControls=limits),
                    resource("GlobalNetworkPolicy", "p", {"selector": "all()"}), settle=False)  # fmt: skip
        world.start_felix(FELIX_ENDPOINTREPORTINGENABLED="true")
        world.settle()
        until(lambda: "vxlan.calico" in world.show("h", "link"), "Felix made the device of the tunnel")
        for unit in ("felix.service", "bgp.service", "boot-guard.service", "etcd.service", "ipam-gc.timer"):
            shutil.copy(UNIT_SOURCES / f"calico-{unit}", self.dirs["units"])
        (self.dirs["state"] / "cni").mkdir()
        (self.dirs["state"] / "cni" / "record").write_text("{}")
        self.run("cni", "install", "--bin-dir", str(self.dirs["bin"]), "--conf-dir", str(self.dirs["net.d"]))
        (self.dirs["bin"] / "bridge").write_text("somebody else's")
        (self.dirs["net.d"] / "20-other.conflist").write_text(OTHER_NETWORK)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [*self.world.enter("h"), sys.executable, "-m", "calico", *words]
        environment = {**os.environ, "ETCD_ENDPOINTS": "http://127.0.0.1:2379"}
        return subprocess.run(command, text=True, capture_output=True, check=False, env=environment, timeout=120)

    def uninstall(self, *words: str) -> subprocess.CompletedProcess[str]:
        places = ["--run-dir", str(self.world.run_dir), "--state-dir", str(self.dirs["state"])]
        places += ["--unit-dir", str(self.dirs["units"]), "--cni-bin-dir", str(self.dirs["bin"])]
        return self.run("node", "uninstall", *places, "--cni-conf-dir", str(self.dirs["net.d"]), "--node", "h1", *words)

    def start_bird(self) -> subprocess.Popen[bytes]:
        run_dir = self.world.run_dir
        (run_dir / "bird.conf").write_text(BIRD.format())
        words = ["bird", "-f", "-c", str(run_dir / "bird.conf"), "-s", str(run_dir / "bird.ctl")]
        process = subprocess.Popen([*self.world.enter("h"), *words, "-P", str(run_dir / "bird.pid")])
        until(lambda: "10.99.0.0/16" in self.world.show("h", "route show proto bird"), "BIRD made its route")
        return process

    def is_clean(self) -> None:
        after = snapshot(self.world)
        assert {key: value for key, value in after.items() if value != self.before.get(key)} == {}
        assert after.keys() == self.before.keys()
        assert not self.world.run_dir.exists()
        assert not self.dirs["state"].exists()
        assert [path.name for path in self.dirs["units"].iterdir()] == ["calico-etcd.service"], (
            "a member keeps its data"
        )
        assert [path.name for path in self.dirs["bin"].iterdir()] == ["bridge"]
        assert [path.name for path in self.dirs["net.d"].iterdir()] == ["20-other.conflist"]


@pytest.fixture
def installed(new_world: Callable[..., World], tmp_path: Path) -> Installed:
    return Installed(new_world("a", "b"), tmp_path)


def removed(done: subprocess.CompletedProcess[str], key: str = "removed") -> dict[str, set[str]]:
    """What was named, by kind."""
    assert done.returncode == 0, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["failed"] == []
    found: dict[str, set[str]] = {}
    for item in document[key]:
        found.setdefault(item["kind"], set()).add(item["name"])
    return found


@pytest.mark.timeout(180)
def test_an_uninstalled_host_is_as_it_was_before_calico(installed: Installed, tmp_path: Path) -> None:
    world = installed.world
    bird = installed.start_bird()
    try:
        running = snapshot(world)
        refused = installed.uninstall("--yes")
        assert refused.returncode == 1
        assert "felix (process" in refused.stderr
        elsewhere = installed.run("node", "uninstall", "--run-dir", str(tmp_path / "nothing"), "--yes")
        assert elsewhere.returncode == 1
        assert "is that another --run-dir?" in elsewhere.stderr
        planned = removed(installed.uninstall("--dry-run", "--datastore", "-o", "json"), "would_remove")
        assert installed.uninstall("--stop", "-o", "json").returncode == 2, "nobody was asked"
        assert snapshot(world) == running, "nothing was touched yet"
        world.expect(4, "!a>b tcp:80")
        gone = removed(installed.uninstall("--stop", "--yes", "--datastore", "-o", "json"))
        bird.wait(timeout=20)
    finally:
        bird.kill()
        bird.wait()
    installed.is_clean()
    assert world.net("a", 4) in gone["route"]
    assert gone["table"] == {"inet calico"}
    assert gone["route of BIRD"] == {"10.99.0.0/16"}
    assert "calia" in gone["bandwidth limit"]
    assert gone["tunnel"] == {"vxlan.calico"}
    assert any(name.startswith("ipv4/ip_forward: 1 -> 0") for name in gone["setting"])
    assert "Node h1" in gone["object"]
    for kind in planned.keys() - {"run file", "process", "report"}:
        assert planned[kind] <= gone[kind], "what was announced was done"
    left = {key for key in world.list("/calico/") if "h1" in key}
    assert not left
    assert world.felix is not None
    assert world.felix.wait(timeout=20) == 0
    world.felix = None
    again = installed.uninstall("--yes")
    assert (again.returncode, again.stdout) == (0, "Nothing of Calico is on this host\n")


@pytest.mark.timeout(180)
def test_what_is_half_gone_already_is_taken_away_all_the_same(installed: Installed) -> None:
    world = installed.world
    world.kill_felix()
    world.ip("h", "route flush proto 80", f"neigh del {world.address('a', 4)} dev calia", "link del dev calib")
    world.wire("b")
    (world.run_dir / "felix.sock").unlink(missing_ok=True)
    shutil.rmtree(installed.dirs["state"])
    (installed.dirs["bin"] / "calico").unlink()
    with (world.run_dir / "settings-before.jsonl").open("a") as record:
        record.write('["ipv4/conf/calib/rp_fil')  # cut off by a crash
    removed(installed.uninstall("--yes", "-o", "json"))
    after, before = snapshot(world), installed.before
    strange = {key for key in after if after[key] != before.get(key) and "calib" not in after[key] + key}
    assert not strange
    assert "cali" not in world.ruleset()
    assert removed(installed.uninstall("--yes", "-o", "json")) == {}
