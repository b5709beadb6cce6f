"""``calico etcd`` on real members: run, look, back up, replace a member, come back from a full database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from calico.dataplane.links import Links
from calico.dataplane.netns import temporary_netns

pytestmark = [pytest.mark.etcd, pytest.mark.root]
DEADLINE_S = 60.0


def until(condition: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < end, f"it never happened that {what}"
        time.sleep(0.1)
    return found


class CoreOfHosts:
    """Members at 127.0.0.1, 127.0.0.2, … of one namespace, each started as its unit would start it."""

    def __init__(self, netns: str, directory: Path) -> None:
        self.netns, self.directory = netns, directory
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.members: dict[str, str] = {}

    def file(self, name: str, **fields: Any) -> Path:
        path = self.directory / f"{name}.yaml"
        document = {"members": self.members, "dataDir": str(self.directory / name), **fields}
        path.write_text(yaml.safe_dump(document))
        return path

    def start(self, name: str, *options: str, **fields: Any) -> None:
        command = self.command("etcd", "run", "--name", name, "-f", str(self.file(name, **fields)), *options)
        with (self.directory / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def command(self, *words: str) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.netns}", sys.executable, "-m", "calico", *words]

    def call(
        self, *words: str, program: str = "", data: bytes | None = None, ends: str = ""
    ) -> subprocess.CompletedProcess[bytes]:
        command = self.command(*words)
        if program:
            command = ["nsenter", f"--net=/run/netns/{self.netns}", program, *words]
        ends = ends or ",".join(f"http://{address}:2379" for address in self.members.values())
        environment = {**os.environ, "ETCD_ENDPOINTS": ends, "ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": ends}
        return subprocess.run(command, capture_output=True, input=data, env=environment, check=False)

    def calico(self, *words: str) -> str:
        done = self.call("etcd", *words)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def etcdctl(self, *words: str, data: bytes | None = None) -> str:
        done = self.call(*words, program="etcdctl", data=data)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def status(self) -> dict[str, Any]:
        done = self.call("etcd", "status", "-o", "json")
        return {} if not done.stdout else {"code": done.returncode, **json.loads(done.stdout)}

    def errors(self) -> list[str]:
        return [found["text"] for found in self.status()["findings"] if found["severity"] == "error"]

    def is_well(self) -> bool:
        found = self.status()
        return bool(found) and found["code"] == 0 and len(found["members"]) == len(self.members)


@pytest.fixture
def core(tmp_path: Path) -> Iterator[CoreOfHosts]:
    if os.geteuid() != 0:
        pytest.skip("needs root for network namespaces")
    with temporary_netns(f"core-{uuid.uuid4().hex[:8]}") as netns:
        with Links(netns) as links:
            links.set_up("lo")
        made = CoreOfHosts(netns, tmp_path)
        try:
            yield made
        finally:
            for name in list(made.running):
                made.kill(name)


@pytest.fixture
def three(core: CoreOfHosts) -> CoreOfHosts:
    core.members = {name: f"127.0.0.{number}" for number, name in enumerate("abc", 1)}
    for name in core.members:
        core.start(name)
    until(core.is_well, "the core is well")
    return core


@pytest.mark.timeout(300)
def test_a_member_is_lost_and_replaced_while_the_others_go_on(three: CoreOfHosts) -> None:
    found = three.status()
    assert [member["name"] for member in found["members"]] == ["a", "b", "c"]
    assert sum(member["leader"] for member in found["members"]) == 1
    three.etcdctl("put", "/k", "1")
    three.kill("c")
    until(lambda: three.errors(), "the loss is seen")
    assert three.status()["code"] == 1
    until(lambda: three.call("put", "/k", "2", program="etcdctl").returncode == 0, "another member leads")
    assert "c" in three.calico("remove", "c")
    del three.members["c"]
    until(three.is_well, "two are a cluster")
    until(lambda: three.call("etcd", "add", "http://127.0.0.4:2380").returncode == 0, "the core takes a new member")
    refused = three.call("etcd", "add", "http://127.0.0.5:2380")
    assert refused.returncode == 1
    assert b"127.0.0.4" in refused.stderr
    three.members["d"] = "127.0.0.4"
    three.start("d", "--join")
    until(three.is_well, "the new member is well")
    three.kill("a")
    until(lambda: three.call("get", "/k", program="etcdctl").stdout == b"/k\n2\n", "the rest answers")


@pytest.mark.timeout(300)
def test_a_backup_is_whole_private_and_can_be_restored(three: CoreOfHosts) -> None:
    three.etcdctl("put", "/k", "before")
    path = three.directory / "backup.db"
    assert "checksum verified" in three.calico("backup", str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    assert not list(three.directory.glob(".*partial"))
    again = three.call("etcd", "backup", str(path))
    assert again.returncode == 1
    assert b"exists already" in again.stderr
    three.etcdctl("put", "/k", "after")
    for name in list(three.running):
        three.kill(name)
    peers = ",".join(f"{name}=http://{address}:2380" for name, address in three.members.items())
    for name, address in three.members.items():
        words = ["snapshot", "restore", str(path), f"--data-dir={three.directory}/{name}-again", f"--name={name}"]
        words += [f"--initial-cluster={peers}", f"--initial-advertise-peer-urls=http://{address}:2380"]
        three.etcdctl(*words, "--initial-cluster-token=again")
        three.start(name, token="again", dataDir=f"{three.directory}/{name}-again")
    until(three.is_well, "the restored core is well")
    assert three.etcdctl("get", "/k") == "/k\nbefore\n"


@pytest.mark.timeout(300)
def test_a_full_database_is_named_and_comes_back(core: CoreOfHosts) -> None:
    core.members = {"a": "127.0.0.1"}
    core.start("a", quotaBytes=16 * 1024**2)
    until(core.is_well, "the core is well")
    value = b"x" * 1_000_000
    until(lambda: core.call("put", "/big", program="etcdctl", data=value).returncode != 0, "it is full")
    until(lambda: any("no space left" in text for text in core.errors()), "that is seen")
    core.calico("compact")
    assert "a: " in core.calico("defrag", "--lift-alarm")
    until(core.is_well, "the core is well again")
    core.etcdctl("put", "/k", "1")


def test_the_last_member_stays_and_a_stranger_is_not_found(core: CoreOfHosts) -> None:
    core.members = {"a": "127.0.0.1"}
    core.start("a")
    until(core.is_well, "the core is well")
    for which, words in (("a", b"last member"), ("b", b"no member 'b'")):
        done = core.call("etcd", "remove", which)
        assert done.returncode == 1
        assert words in done.stderr


def test_a_host_finds_out_which_member_it_is_and_a_core_that_is_away_is_named(core: CoreOfHosts) -> None:
    core.members = {"a": "192.0.2.9", "b": "127.0.0.1"}
    done = core.call("etcd", "run", "--print", "-f", str(core.file("b")))
    assert b"--name=b" in done.stdout
    assert b"warning: " in done.stderr
    core.members = {"a": "127.0.0.9"}
    done = core.call("etcd", "status")
    assert done.returncode == 1
    assert b"127.0.0.9" in done.stderr
    assert b"ETCD_ENDPOINTS" in done.stderr


def test_the_gateway_leads_to_whichever_member_answers(three: CoreOfHosts) -> None:
    words = ["etcd", "gateway", "-f", str(three.file("gw")), "--listen", "127.0.0.99:2379"]
    with (three.directory / "gw.log").open("ab") as log:
        three.running["gw"] = subprocess.Popen(three.command(*words), stdout=log, stderr=log)

    def put(value: str) -> bool:
        return three.call("put", "/g", value, program="etcdctl", ends="http://127.0.0.99:2379").returncode == 0

    until(lambda: put("1"), "the gateway leads to the core")
    three.kill("a")
    until(lambda: put("2"), "it leads to another member")
