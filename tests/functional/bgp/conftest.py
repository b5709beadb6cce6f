"""Hosts on one Ethernet as namespaces, an etcd beside them, and on each host the real agent with a real BIRD."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from calico.dataplane.netns import create_netns, delete_netns
from calico.errors import Transient
from calico.obs.statussocket import read_status

BIRD = os.environ.get("CALICO_TEST_BIRD", "bird")  # the agents' BIRD, of any version
_serial = itertools.count()
_DEADLINE_S = 30.0
_RESOURCES = "/calico/resources/v3/projectcalico.org"


def until(condition: Callable[[], Any], what: str, instead: Callable[[], str] = str) -> Any:
    """The first true value of ``condition``, which may fail while BIRD is away; the deadline bounds a failing test.
    ``instead`` says what is there when it ends."""
    deadline = time.monotonic() + _DEADLINE_S
    while True:
        with suppress(OSError, ValueError):
            if found := condition():
                return found
        if time.monotonic() > deadline:
            pytest.fail(f"it never happened that {what}; {instead()}")
        time.sleep(0.02)


class Moment(str):
    """A session's state and since when, as BIRD words it: the same moment may be a few milliseconds off when BIRD is
    asked again, since it counts back from now."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Moment) or _CLOCK.sub("", self) != _CLOCK.sub("", other):
            return False
        mine, theirs = _CLOCK.findall(self), _CLOCK.findall(other)
        return all(abs(_seconds(a) - _seconds(b)) < _JITTER_S for a, b in zip(mine, theirs, strict=True))

    def __ne__(self, other: object) -> bool:
        return not self == other


_CLOCK = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")
_JITTER_S = 0.1


def _seconds(clock: tuple[str, str, str]) -> float:
    hours, minutes, seconds = clock
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


class Host:
    """A namespace with eth0 on the fabric, and the agent that runs in it."""

    def __init__(self, fabric: Fabric, number: int, *, routed: bool = False) -> None:
        self.fabric, self.number = fabric, number
        self.name = f"node{number}"
        self.netns = f"{fabric.prefix}n{number}"
        self.ipv4, self.ipv6 = f"10.99.0.{number}", f"fd99::{number:x}"
        if routed:
            self.ipv4, self.ipv6 = f"10.98.{number}.1", f"fd98:{number:x}::1"
        self.run_dir = fabric.directory / self.name
        self.secrets_dir = fabric.directory / f"{self.name}-secrets"
        self.options: tuple[str, ...] = ()
        self.agent: subprocess.Popen[bytes] | None = None
        create_netns(self.netns)
        fabric.namespaces.append(self.netns)
        self.ip("link", "set", "lo", "up")
        fabric.plug(self, routed=routed)

    def ip(self, *arguments: str) -> str:
        return ip(self.netns, *arguments)

    def run(self, *command: str) -> str:
        """What a command says in the host's namespace."""
        command = ("nsenter", f"--net=/run/netns/{self.netns}", *command)
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def calico(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What the command says on this host; the environment names the datastore and this host's sockets."""
        command = ["nsenter", f"--net=/run/netns/{self.netns}", sys.executable, "-m", "calico", *arguments]
        names = {"CALICO_RUN_DIR": str(self.run_dir), "CALICO_ETCD_ENDPOINTS": self.fabric.etcd_url}
        return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **names})

    def start_agent(self) -> None:
        command = [sys.executable, "-m", "calico", "bgp", "--node", self.name]
        command += ["--etcd-endpoints", self.fabric.etcd_url, "--run-dir", str(self.run_dir)]
        command += ["--secrets-dir", str(self.secrets_dir), "--bird", BIRD, *self.options]
        with open(self.fabric.directory / f"{self.name}.log", "ab") as output:
            self.agent = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.netns}", *command], stdout=output, stderr=output
            )

    def start_bird(self, text: str) -> None:
        """A BIRD of the host's own, without an agent; ``{log}`` in the text is its log."""
        self.run_dir.mkdir(exist_ok=True)
        conf, output = self.run_dir / "plain.conf", self.run_dir / "plain.out"
        conf.write_text(text.replace("{log}", f'log "{self.run_dir / "bird.log"}" all;'))
        command = ["nsenter", f"--net=/run/netns/{self.netns}", "bird", "-c", str(conf)]
        command += ["-s", str(self.run_dir / "bird.ctl"), "-P", str(self.run_dir / "bird.pid")]
        with open(output, "ab") as file:
            subprocess.run(command, stdout=file, stderr=file, check=True)

    def secret(self, name: str, key: str, password: str, mode: int = 0o600) -> None:
        """A password in a file of this host."""
        path = self.secrets_dir / name / key
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_text(password)
        path.chmod(mode)

    def kill_agent(self) -> None:
        assert self.agent is not None
        self.agent.kill()
        self.agent.wait()

    def terminate_agent(self) -> int:
        assert self.agent is not None
        self.agent.terminate()
        return self.agent.wait(timeout=10)

    @property
    def status(self) -> dict[str, Any]:
        try:
            return read_status(self.run_dir / "bgp.sock")
        except Transient:
            return {"sessions": [], "conditions": [], "in_sync": False, "bird": {"state": "down"}, "pid": 0}

    @property
    def established(self) -> list[str]:
        return [s["name"] for s in self.status["sessions"] if s["state"] == "Established"]

    @property
    def bird_pid(self) -> int:
        return int((self.run_dir / "bird.pid").read_text())

    def ask_bird(self, command: str) -> str:
        """A question to BIRD by a client of its own (not the one under test)."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(5)
            sock.connect(str(self.run_dir / "bird.ctl"))
            sock.recv(1000)
            sock.sendall(command.encode() + b"\n")
            answer = b""
            while not any(line[4:5] == b" " and line[:4].isdigit() for line in answer.split(b"\n")[:-1]):
                answer += sock.recv(65536)
        return answer.decode()

    def since(self) -> dict[str, Moment]:
        """By session, its state with the moment it came about."""
        rows = [line.split() for line in self.ask_bird("show protocols").splitlines()]
        return {row[0].removeprefix("1002-"): Moment(" ".join(row[3:7])) for row in rows if row[1:2] == ["BGP"]}

    @property
    def has_bfd(self) -> bool:
        """Whether BIRD's configuration has any BFD."""
        return "bfd" in (self.run_dir / "bird.conf").read_text()

    def has_condition(self, code: str) -> list[dict[str, Any]]:
        """The conditions of a code that the agent states."""
        return [condition for condition in self.status["conditions"] if condition["code"] == code]

    def is_settled(self, *, sessions: int) -> bool:
        """BIRD itself says that all its sessions are established and no graceful restart is under way."""
        up = [state for state in self.since().values() if "Established" in state]
        return len(up) == sessions and "0024" not in self.ask_bird("show status")

    def has_route(self, destination: str, *, via: str | None = None) -> bool:
        """Whether BIRD put a route into this host's kernel."""
        family = "-6" if ":" in destination else "-4"
        found = self.ip(family, "route", "show", destination, "proto", "bird")
        return bool(found) and (via is None or f"via {via}" in found)

    def workload(self, number: int, *addresses: str) -> str:
        """A namespace behind a cali interface, with device routes as Felix makes them."""
        netns, interface = f"{self.netns}w{number}", f"cali{number}"
        create_netns(netns)
        self.fabric.namespaces.append(netns)
        self.ip("link", "add", interface, "type", "veth", "peer", "name", "eth0", "netns", netns)
        self.ip("addr", "add", "169.254.1.1/32", "dev", interface)
        self.ip("addr", "add", "fe80::1/64", "dev", interface, "nodad")
        ip(netns, "link", "set", "eth0", "up")
        self.ip("link", "set", interface, "up")
        for address in addresses:
            length = 128 if ":" in address else 32
            gateway = "fe80::1" if ":" in address else "169.254.1.1"
            ip(netns, "addr", "add", f"{address}/{length}", "dev", "eth0", *(["nodad"] if length == 128 else []))
            ip(netns, "route", "replace", f"{gateway}/{length}", "dev", "eth0")
            ip(netns, "route", "replace", "default", "via", gateway, "dev", "eth0")
            self.ip("route", "add", f"{address}/{length}", "dev", interface, "proto", "80")
        return netns


def ip(netns: str, *arguments: str) -> str:
    done = subprocess.run(["ip", "-n", netns, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"ip {' '.join(arguments)}: {done.stderr}")
    return done.stdout


class Fabric:
    """An Ethernet and an etcd, both in a namespace of their own."""

    def __init__(self, directory: Path) -> None:
        self.prefix = f"cbg{os.getpid() % 100000}-{next(_serial)}"
        self.directory = directory
        self.namespaces: list[str] = []
        self.hosts: list[Host] = []
        self.pingers: list[Pinger] = []
        self.etcd: subprocess.Popen[bytes] | None = None
        self.etcd_url = "http://10.99.0.254:2379"
        self.netns = f"{self.prefix}f"
        create_netns(self.netns)
        self.namespaces.append(self.netns)
        ip(self.netns, "link", "set", "lo", "up")
        ip(self.netns, "link", "add", "br0", "type", "bridge")
        ip(self.netns, "addr", "add", "10.99.0.254/24", "dev", "br0")
        ip(self.netns, "link", "set", "br0", "up")

    def plug(self, host: Host, *, routed: bool) -> None:
        """Into the Ethernet that all share, or into a subnet of its own behind a router."""
        port = f"port{host.number}"
        ip(self.netns, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host.netns)
        for path in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
            command = ["nsenter", f"--net=/run/netns/{host.netns}", "sh", "-c", f"echo 1 > /proc/sys/{path}"]
            subprocess.run(command, check=True)
        host.ip("addr", "add", f"{host.ipv4}/24", "dev", "eth0")
        host.ip("addr", "add", f"{host.ipv6}/64", "dev", "eth0", "nodad")
        host.ip("link", "set", "eth0", "up")
        if not routed:
            ip(self.netns, "link", "set", port, "master", "br0", "up")
            return
        for path in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
            command = ["nsenter", f"--net=/run/netns/{self.netns}", "sh", "-c", f"echo 1 > /proc/sys/{path}"]
            subprocess.run(command, check=True)
        gateways = f"10.98.{host.number}.254", f"fd98:{host.number:x}::fe"
        ip(self.netns, "addr", "add", f"{gateways[0]}/24", "dev", port)
        ip(self.netns, "addr", "add", f"{gateways[1]}/64", "dev", port, "nodad")
        ip(self.netns, "link", "set", port, "up")
        for gateway in gateways:
            host.ip("route", "add", "default", "via", gateway, "dev", "eth0")

    def start_etcd(self) -> None:
        self.restart_etcd()
        self.put("clusterinformations", "default", "ClusterInformation", {"datastoreReady": True})

    def restart_etcd(self) -> None:
        """etcd with the data that it had, if it was there before."""
        command = ["etcd", "--data-dir", str(self.directory / "etcd"), "--listen-client-urls", self.etcd_url]
        command += ["--advertise-client-urls", self.etcd_url, "--listen-peer-urls", "http://127.0.0.1:2380"]
        command += ["--unsafe-no-fsync", "--log-level", "error", "--enable-v2=false"]
        with open(self.directory / "etcd.log", "wb") as output:
            self.etcd = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.netns}", *command], stdout=output, stderr=output
            )
        until(lambda: self._etcdctl("endpoint", "health", check=False) == 0, "etcd is healthy")

    def _etcdctl(self, *arguments: str, stdin: str = "", check: bool = True) -> int:
        return self._ctl(*arguments, stdin=stdin, check=check).returncode

    def _ctl(self, *arguments: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        command = ["nsenter", f"--net=/run/netns/{self.netns}", "etcdctl", "--endpoints", self.etcd_url, *arguments]
        environment = {**os.environ, "ETCDCTL_API": "3"}
        return subprocess.run(command, input=stdin, text=True, capture_output=True, check=check, env=environment)

    def put(
        self,
        plural: str,
        name: str,
        kind: str,
        spec: dict[str, Any],
        labels: dict[str, str] | None = None,
        annotations: dict[str, str] | None = None,
    ) -> None:
        """Store a resource as any other writer would: by the datastore's own tool."""
        document = {
            "kind": kind,
            "apiVersion": "projectcalico.org/v3",
            "metadata": {"name": name, "labels": labels or {}, "annotations": annotations or {}},
            "spec": spec,
        }
        self._etcdctl("put", f"{_RESOURCES}/{plural}/{name}", stdin=json.dumps(document))

    def endpoint(self, host: Host, name: str, labels: dict[str, str], *addresses: str) -> None:
        """A workload endpoint of a host."""
        spec = {"node": host.name, "orchestrator": "lab", "workload": name, "endpoint": "eth0", "ipNetworks": addresses}
        document = {"kind": "WorkloadEndpoint", "metadata": {"labels": labels}, "spec": spec}
        self.put_raw(f"{_RESOURCES}/workloadendpoints/default/{host.name}-lab-{name}-eth0", json.dumps(document))

    def secret(self, name: str, key: str, password: str) -> None:
        """A password in the datastore."""
        self.put_raw(f"/calico/bgp/v1/secrets/{name}/{key}", password)

    def peer(self, name: str, annotations: dict[str, str] | None = None, **spec: Any) -> None:
        """A BGPPeer."""
        self.put("bgppeers", name, "BGPPeer", spec, None, annotations)

    def config(self, annotations: dict[str, str] | None = None, **spec: Any) -> None:
        """BGPConfiguration default."""
        self.put("bgpconfigurations", "default", "BGPConfiguration", spec, None, annotations)

    def keys(self, prefix: str) -> list[str]:
        """The keys under a prefix."""
        return self._ctl("get", "--prefix", "--keys-only", prefix).stdout.split()

    def values(self, prefix: str) -> list[str]:
        """The values, each a line of JSON, of the keys under a prefix."""
        return self._ctl("get", "--prefix", "--print-value-only", prefix).stdout.splitlines()

    def put_raw(self, key: str, value: str) -> None:
        self._etcdctl("put", key, stdin=value)

    def delete(self, plural: str, name: str) -> None:
        self._etcdctl("del", f"{_RESOURCES}/{plural}/{name}")

    def run(self, *command: str) -> str:
        """What a command says beside etcd, which its environment names."""
        environment = {**os.environ, "CALICO_ETCD_ENDPOINTS": self.etcd_url}
        command = ("nsenter", f"--net=/run/netns/{self.netns}", *command)
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout

    def delete_all(self, plural: str) -> None:
        """Every resource of a kind."""
        self._etcdctl("del", "--prefix", f"{_RESOURCES}/{plural}/")

    def add_host(
        self,
        number: int,
        *,
        node: dict[str, Any] | None = None,
        labels: dict[str, str] | None = None,
        routed: bool = False,
        options: tuple[str, ...] = (),
    ) -> Host:
        """A host with its Node and a running agent."""
        host = Host(self, number, routed=routed)
        host.options = options
        self.hosts.append(host)
        bgp = {"ipv4Address": f"{host.ipv4}/24", "ipv6Address": f"{host.ipv6}/64", **(node or {})}
        self.put("nodes", host.name, "Node", {"bgp": bgp}, labels)
        host.start_agent()
        return host

    until = staticmethod(until)

    def bare_host(self, number: int) -> Host:
        """A host without a Node, whose agent is not started."""
        self.hosts.append(Host(self, number))
        return self.hosts[-1]

    def adopt(self, netns: str, name: str) -> Host:
        """A namespace that is there already, such as a workload's, as a host whose BIRD can be started."""
        host = Host.__new__(Host)
        host.fabric, host.name, host.netns = self, name, netns
        host.run_dir, host.agent = self.directory / name, None
        self.hosts.append(host)
        return host

    def cut(self, host: Host) -> None:
        """Let nothing pass between a host and the Ethernet; neither end's link goes down."""
        ip(self.netns, "link", "set", f"port{host.number}", "nomaster")

    def mend(self, host: Host) -> None:
        """Undo ``cut``."""
        ip(self.netns, "link", "set", f"port{host.number}", "master", "br0")

    def ping(self, host: Host, target: str) -> Pinger:
        """Ping from a host's own address until stopped."""
        self.pingers.append(Pinger(host.netns, target, host.ipv6 if ":" in target else host.ipv4))
        return self.pingers[-1]

    def close(self) -> None:
        for pinger in self.pingers:
            pinger.close()
        for host in self.hosts:
            if host.agent is not None and host.agent.poll() is None:
                host.kill_agent()
            with suppress(OSError, ValueError):
                os.kill(host.bird_pid, signal.SIGKILL)
        if self.etcd is not None:
            self.etcd.kill()
            self.etcd.wait()
        for name in self.namespaces:
            with suppress(Exception):
                delete_netns(name)


@pytest.fixture
def wires() -> Iterator[Fabric]:
    """Hosts can be plugged together; there is no datastore."""
    with tempfile.TemporaryDirectory(prefix="cbg") as directory:  # short: socket paths are limited to 107 bytes
        made = Fabric(Path(directory))
        try:
            yield made
        finally:
            for path in sorted(Path(directory).glob("*.log")):
                print(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}")
            made.close()


@pytest.fixture
def fabric(wires: Fabric) -> Fabric:
    """Wires with an etcd."""
    wires.start_etcd()
    return wires


class Pinger:
    """An echo request every 10 ms until asked how many stayed unanswered."""

    def __init__(self, netns: str, target: str, source: str) -> None:
        command = ["nsenter", f"--net=/run/netns/{netns}", "ping", "-n", "-i", "0.01", "-I", source, target]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def stop(self) -> tuple[int, int]:
        """(sent, lost); the last request may still be on its way and is not counted."""
        self._process.send_signal(signal.SIGINT)
        output = self._process.communicate(timeout=10)[0].decode()
        print(output[-300:])
        summary = next(line for line in output.splitlines() if "packets transmitted" in line).split()
        sent, received = int(summary[0]), int(summary[3])
        return sent, max(0, sent - received - 1)

    def close(self) -> None:
        """End it, if that has not happened yet."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
