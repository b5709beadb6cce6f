"""Felix, the BGP agent and the command line, each as its own user of an etcd that wants certificates or passwords."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from calico.dataplane.netns import create_netns, delete_netns
from calico.errors import Transient
from calico.obs.statussocket import read_status

pytestmark = [pytest.mark.root, pytest.mark.etcd, pytest.mark.bird, pytest.mark.timeout(240)]

URL = "https://127.0.0.1:2379"
R = "/calico/resources/v3/projectcalico.org/"
DEADLINE_S = 60.0
_serial = itertools.count()

RESOURCES = """
kind: Node
apiVersion: projectcalico.org/v3
metadata: {name: h1}
spec: {bgp: {ipv4Address: 192.0.2.1/24}}
---
kind: FelixConfiguration
apiVersion: projectcalico.org/v3
metadata: {name: default}
spec: {endpointReportingEnabled: true, endpointReportingDelay: 200ms}
---
kind: BGPPeer
apiVersion: projectcalico.org/v3
metadata: {name: tor}
spec: {peerIP: 192.0.2.9, asNumber: 65001, password: {secretKeyRef: {name: peers, key: tor}}}
---
kind: Profile
apiVersion: projectcalico.org/v3
metadata: {name: open}
spec: {ingress: [{action: Allow}], egress: [{action: Allow}]}
---
kind: WorkloadEndpoint
apiVersion: projectcalico.org/v3
metadata: {name: h1-cni-w-eth0, namespace: default}
spec: {node: h1, orchestrator: cni, workload: w, containerID: w, endpoint: eth0, interfaceName: calia,
       mac: "ee:ee:ee:ee:ee:ee", ipNetworks: [10.65.0.1/32], profiles: [open]}
"""
STATUS_PREFIX = "/calico/felix/v2/no-region/host/h1/"


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        with suppress(Transient):
            if found := condition():
                return found
        if time.monotonic() > deadline:
            pytest.fail(f"it never happened that {what}")
        time.sleep(0.05)


class Machine:
    """A namespace with an etcd that asks who one is, and the programs of one host in it."""

    def __init__(self, directory: Path, certificates: Any, *, with_certificates: bool) -> None:
        self.directory, self.certificates, self.with_certificates = directory, certificates, with_certificates
        self.passwords = directory / "passwords"
        self.netns = f"cds{os.getpid() % 100000}-{next(_serial)}"
        self.processes: list[subprocess.Popen[bytes]] = []
        create_netns(self.netns)
        for command in (
            "link set lo up",
            "link add eth0 type dummy",
            "addr add 192.0.2.1/24 dev eth0",
            "link set eth0 up",
            "link add calia type veth peer name cwl",
            "link set cwl up",
            "link set calia up",
        ):
            self.run("ip", *command.split())
        self.server = certificates.make("server")
        self.etcd = self._start_etcd()

    def enter(self, *command: str) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.netns}", *command]

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.enter(*command),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, **environment},
        )

    def identity(self, user: str) -> dict[str, str]:
        """What the environment says of a user, in the way that this etcd wants."""
        found = {"ETCD_ENDPOINTS": URL, "ETCD_CA_CERT_FILE": str(self.certificates.ca)}
        if not self.with_certificates:
            return {**found, "ETCD_USERNAME": user, "ETCD_PASSWORD_FILE": str(self.passwords / user)}
        directory = self.certificates.directory
        if not (directory / f"{user}.pem").exists():
            self.certificates.make(user)
        names = {"ETCD_CERT_FILE": f"{user}.pem", "ETCD_KEY_FILE": f"{user}.key"}
        return {**found, **{name: str(directory / file) for name, file in names.items()}}

    def calico(self, user: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = self.enter(sys.executable, "-m", "calico", *arguments)
        environment = {**os.environ, **(self.identity(user) if user else self.nobody())}
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, env=environment, check=False, timeout=60
        )

    def nobody(self) -> dict[str, str]:
        """Before etcd asks who one is."""
        found = {"ETCD_ENDPOINTS": URL, "ETCD_CA_CERT_FILE": str(self.certificates.ca)}
        return {**found, **self.identity("root")} if self.with_certificates else found

    def ok(self, user: str, *arguments: str, stdin: str = "") -> str:
        done = self.calico(user, *arguments, stdin=stdin)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, component: str, *options: str, environment: dict[str, str] | None = None) -> None:
        command = self.enter(sys.executable, "-m", "calico", component, "--node", "h1")
        command += ["--run-dir", str(self.directory / "run"), "--log-file", str(self.directory / f"{component}.log")]
        settings = self.identity(f"calico-{component}-h1") if environment is None else environment
        with open(self.directory / f"{component}.out", "ab") as output:
            process = subprocess.Popen(
                [*command, *options], stdout=output, stderr=output, env={**os.environ, **settings}
            )
        self.processes.append(process)

    def status(self, component: str) -> dict[str, Any]:
        return read_status(self.directory / "run" / f"{component}.sock")

    def keys(self, prefix: str) -> list[str]:
        """As the operator sees them, by etcd's own tool."""
        return self.etcdctl("get", "--prefix", "--keys-only", prefix).split()

    def as_root(self, *arguments: str) -> None:
        password = (self.passwords / "root").read_text().strip()
        self.etcdctl(*arguments, user=f"root:{password}")

    def etcdctl(self, *arguments: str, user: str = "") -> str:
        who = [f"--cacert={self.certificates.ca}", f"--endpoints={URL}"]
        if self.with_certificates:
            files = self.identity("calico-operator")
            who += [f"--cert={files['ETCD_CERT_FILE']}", f"--key={files['ETCD_KEY_FILE']}"]
        else:
            user = user or f"calico-operator:{(self.passwords / 'calico-operator').read_text().strip()}"
        who += [f"--user={user}"] if user else []
        done = self.run("etcdctl", *who, *arguments, ETCDCTL_API="3")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _start_etcd(self) -> subprocess.Popen[bytes]:
        command = ["etcd", "--data-dir", str(self.directory / "etcd"), "--log-level", "error", "--unsafe-no-fsync"]
        command += ["--listen-client-urls", URL, "--advertise-client-urls", URL, "--enable-v2=false"]
        command += [f"--cert-file={self.server.cert}", f"--key-file={self.server.key}", "--auth-token-ttl=3"]
        if self.with_certificates:
            command += [f"--trusted-ca-file={self.server.ca}", "--client-cert-auth"]
        with open(self.directory / "etcd.log", "ab") as output:
            return subprocess.Popen(self.enter(*command), stdout=output, stderr=output)

    def restart_etcd(self) -> None:
        self.etcd.kill()
        self.etcd.wait()
        self.etcd = self._start_etcd()

    def secure(self) -> None:
        """Initialise, make the roles, and have etcd ask."""
        until(lambda: self.calico("", "datastore", "init").returncode == 0, "etcd answers")
        self.ok("", "datastore", "roles", "--host", "h1", *self._how(), "--enable")

    def _how(self) -> list[str]:
        if not self.with_certificates:
            return ["--passwords", str(self.passwords)]
        self.ok("", "datastore", "roles", "--host", "h1")
        return ["--passwords", str(self.passwords)]

    def close(self) -> None:
        for process in [*self.processes, self.etcd]:
            process.kill()
            process.wait()
        with suppress(OSError, ValueError):
            os.kill(int((self.directory / "run" / "bird.pid").read_text()), 9)
        delete_netns(self.netns)


@pytest.fixture(params=["certificates", "passwords"])
def machine(request: pytest.FixtureRequest, tmp_path: Path, certificates: Any) -> Iterator[Machine]:
    if os.geteuid() != 0:
        pytest.skip("needs root to make network namespaces")
    made = Machine(tmp_path, certificates, with_certificates=request.param == "certificates")
    try:
        made.secure()
        yield made
    finally:
        made.close()


def in_sync(machine: Machine, component: str) -> None:
    until(lambda: machine.status(component)["in_sync"], f"{component} is in sync")


def test_each_component_does_its_work_as_its_own_user(machine: Machine) -> None:
    machine.ok("calico-operator", "apply", "-f", "-", stdin=RESOURCES)
    machine.etcdctl("put", "/calico/bgp/v1/secrets/peers/tor", "hush")
    refused = machine.calico("calico-readonly", "apply", "-f", "-", stdin=RESOURCES)
    assert (refused.returncode, "lacks the right" in refused.stderr) == (1, True)
    assert "h1" in machine.ok("calico-readonly", "get", "nodes")
    assert "Ready       yes" in machine.ok("calico-readonly", "datastore", "status")
    assert "(no right to look)" in machine.ok("calico-readonly", "datastore", "status")
    for command in (("datastore", "export"), ("datastore", "lock"), ("datastore", "accept", "--all-hosts", "-y")):
        assert "lacks the right" in machine.calico("calico-readonly", *command).stderr
    assert "lacks the right" in machine.calico("calico-operator", "datastore", "roles", "--host", "h1").stderr
    assert "0 changes" in machine.ok("root", "datastore", "roles", "--all-nodes", "--prune")
    nobody = machine.calico("", "get", "nodes")
    if machine.with_certificates:
        assert nobody.returncode == 0  # the environment of nobody holds root's certificate there
    else:
        assert (nobody.returncode, "wants a user name" in nobody.stderr) == (1, True)

    machine.start("felix")
    machine.start("bgp")
    in_sync(machine, "felix")
    in_sync(machine, "bgp")
    until(lambda: f"{STATUS_PREFIX}status" in machine.keys(STATUS_PREFIX), "Felix reports itself")
    workload = f"{STATUS_PREFIX}workload/cni/default%2fw/endpoint/eth0"
    until(lambda: workload in machine.keys(STATUS_PREFIX), "Felix reports its endpoint")
    assert "was not written" not in (machine.directory / "felix.log").read_text()
    assert [item["code"] for item in machine.status("felix")["conditions"] if "datastore" in item["code"]] == []
    assert [c for c in machine.status("bgp")["conditions"] if c["code"] == "bgp-password-unavailable"] == []
    said = "".join((machine.directory / name).read_text() for name in ("felix.log", "bgp.log"))
    assert "lacks the right" not in said, "an agent uses keys that its role does not know"
    assert 'password "hush"' in (machine.directory / "run" / "bird.conf").read_text()

    machine.restart_etcd()  # tokens are forgotten
    until(lambda: machine.calico("calico-operator", "delete", "wep", "h1-cni-w-eth0").returncode == 0, "etcd is back")
    until(lambda: workload not in machine.keys(STATUS_PREFIX), "Felix follows the change and reports it")

    def trouble(component: str) -> str:
        found = machine.status(component)["conditions"]
        return "".join(item["message"] for item in found if item["code"] == "datastore-unreachable")

    machine.as_root("user", "revoke-role", "calico-bgp-h1", "calico-bgp")
    machine.restart_etcd()  # an open watch outlives the right to it
    until(lambda: "lacks the right" in trouble("bgp"), "the agent says that it has no right")
    assert trouble("felix") == ""
    machine.etcd.kill()
    until(lambda: "https://127.0.0.1:2379" in trouble("felix"), "Felix says that etcd is away, and where")


def test_a_locked_datastore_is_honoured_and_a_replaced_one_is_held_until_accepted(machine: Machine) -> None:
    machine.ok("calico-operator", "apply", "-f", "-", stdin=RESOURCES)
    machine.start("felix")
    machine.start("bgp")
    in_sync(machine, "felix")
    in_sync(machine, "bgp")

    def said(component: str, code: str) -> list[str]:
        return [c["message"] for c in machine.status(component)["conditions"] if c["code"] == code]

    def has_route() -> bool:
        return "10.65.0.1" in machine.run("ip", "route").stdout

    until(has_route, "the workload is routed")
    machine.ok("calico-operator", "datastore", "lock")
    for component in ("felix", "bgp"):
        until(lambda name=component: said(name, "datastore-locked"), f"{component} says that the datastore is locked")
    machine.ok("calico-operator", "delete", "wep", "h1-cni-w-eth0")
    assert "datastore-locked" in machine.calico("calico-operator", "node", "status", "--run-dir",
                                                str(machine.directory / "run")).stdout  # fmt: skip
    assert has_route()
    machine.ok("calico-operator", "datastore", "unlock")
    until(lambda: not said("felix", "datastore-locked"), "Felix goes on")
    until(lambda: not has_route(), "what was deleted meanwhile is removed")

    machine.ok("calico-operator", "apply", "-f", "-", stdin=RESOURCES)
    until(has_route, "the workload is routed again")
    machine.ok("calico-operator", "datastore", "export", "-f", str(machine.directory / "all.yaml"), "-o", "json")
    machine.etcdctl("del", "--prefix", "/calico/")
    for component in ("felix", "bgp"):
        until(lambda name=component: said(name, "datastore-held"), f"{component} holds what it knew")
    too_early = machine.calico("calico-operator", "datastore", "accept", "--all-hosts", "-y")
    assert (too_early.returncode, "calico datastore init" in too_early.stderr) == (1, True)
    machine.ok("calico-operator", "datastore", "init")
    until(
        lambda: "clusterGUID" in "".join(said("felix", "datastore-held")), "Felix sees a cluster that it does not know"
    )
    assert has_route()
    assert "datastore accept" in "".join(said("felix", "datastore-held"))
    machine.ok("calico-operator", "datastore", "accept", "--host", "h2", "-y")
    machine.ok("calico-operator", "datastore", "accept", "--host", "h1", "-y")
    for component in ("felix", "bgp"):
        until(lambda name=component: not said(name, "datastore-held"), f"{component} follows the accepted store")
    until(lambda: not has_route(), "what the new store lacks is removed")

    machine.etcdctl("del", "--prefix", "/calico/")
    until(lambda: said("felix", "datastore-held"), "Felix holds again: one word is for one store")


def test_settings_of_a_daemon_come_from_options_or_a_file_as_well(machine: Machine) -> None:
    files = machine.identity("calico-felix-h1")
    fields = {
        "ETCD_ENDPOINTS": ("etcdEndpoints", "--etcd-endpoints"),
        "ETCD_CA_CERT_FILE": ("etcdCACertFile", "--etcd-ca-file"),
        "ETCD_CERT_FILE": ("etcdCertFile", "--etcd-cert-file"),
        "ETCD_KEY_FILE": ("etcdKeyFile", "--etcd-key-file"),
        "ETCD_USERNAME": ("etcdUsername", "--etcd-username"),
        "ETCD_PASSWORD_FILE": ("etcdPasswordFile", "--etcd-password-file"),
    }
    machine.start("felix", *(f"{fields[name][1]}={value}" for name, value in files.items()), environment={})
    in_sync(machine, "felix")
    machine.processes[-1].kill()
    machine.processes[-1].wait()
    config = machine.directory / "felix.yaml"
    spec = {fields[name][0]: value for name, value in files.items()}
    config.write_text(yaml.safe_dump({"kind": "CalicoAPIConfig", "spec": spec}))
    machine.start("felix", "--config", str(config), environment={"ETCD_ENDPOINTS": URL})
    in_sync(machine, "felix")
    assert json.loads(machine.ok("calico-operator", "datastore", "status", "-o", "json"))["problems"] == []
