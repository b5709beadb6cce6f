"""One host in namespaces: a real etcd, a real Felix, the daemon, the installed plugin, and containers to attach.

The plugin is called as runtimes do: its executable, CNI_... in the environment, the network on standard input.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from calico.dataplane.links import Links
from calico.dataplane.netns import create_netns, delete_netns, in_netns
from calico.errors import NotFound, Transient
from calico.obs.statussocket import read_status

RESOURCES = "/calico/resources/v3/projectcalico.org"
NODE = "node1"
DEADLINE_S = 30.0
_serial = itertools.count()


def until(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of ``condition``; the deadline bounds a failing test only."""
    end = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < end, f"it never happened that {what}"
        time.sleep(0.01)
    return found


class Answer:
    """What a call of the plugin came to."""

    def __init__(self, done: subprocess.CompletedProcess[bytes]) -> None:
        self.code = done.returncode
        self.text = done.stdout.decode()
        self.err = done.stderr.decode()
        self.document: dict[str, Any] = json.loads(self.text) if self.text.strip() else {}

    @property
    def error(self) -> int:
        """The specification's code; 0 for success."""
        assert (self.code != 0) == ("code" in self.document), (self.code, self.text, self.err)
        return int(self.document.get("code", 0))

    @property
    def message(self) -> str:
        return str(self.document.get("msg", ""))

    def address(self, family: int = 4) -> str:
        found = [ip["address"] for ip in self.document["ips"] if (":" in ip["address"]) == (family == 6)]
        return str(found[0]).partition("/")[0]


class World:
    """Everything; ``close`` removes it whatever happened."""

    def __init__(self) -> None:
        self.prefix = f"ccn{os.getpid() % 100000}-{next(_serial)}"
        self.directory = Path(tempfile.mkdtemp(prefix="ccn"))
        self.run_dir, self.state_dir = self.directory / "run", self.directory / "state"
        self.bin_dir, self.conf_dir = self.directory / "bin", self.directory / "net.d"
        self.socket = self.directory / "cni.sock"
        self.run_dir.mkdir()
        self.names: list[str] = []
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._containers = itertools.count(1)
        self.host = self.netns("h")
        self._make(self.host)
        self.ip(self.host, "link set lo up")
        self.etcd_url = "http://127.0.0.1:2379"

    # ---- namespaces

    def netns(self, name: str) -> str:
        return f"{self.prefix}{name}"

    def _make(self, name: str) -> None:
        create_netns(name)
        self.names.append(name)

    def ip(self, netns: str, command: str) -> str:
        done = subprocess.run(["ip", "-n", netns, *command.split()], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"ip {command}: {done.stderr}"
        return done.stdout

    def container(self, identity: str = "") -> Container:
        """A namespace for a container, with an id that looks like a runtime's."""
        number = next(self._containers)
        identity = identity or f"{number:03d}c{os.urandom(8).hex()}"
        name = self.netns(f"c{number}")
        self._make(name)
        self.ip(name, "link set lo up")
        return Container(self, identity, name)

    def end_container(self, container: Container) -> None:
        """The namespace goes before anybody said DEL."""
        self.names.remove(container.netns)
        delete_netns(container.netns)

    # ---- processes

    def enter(self) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.host}"]

    def _start(self, name: str, command: Sequence[str], **environment: str) -> None:
        with open(self.directory / f"{name}.out", "ab") as output:
            self.processes[name] = subprocess.Popen(
                [*self.enter(), *command], stdout=output, stderr=output, env={**os.environ, **environment}
            )

    def kill(self, name: str) -> None:
        process = self.processes.pop(name, None)
        if process is not None:
            process.kill()
            process.wait()

    def start_etcd(self) -> None:
        command = ["etcd", "--data-dir", str(self.directory / "etcd"), "--listen-client-urls", self.etcd_url]
        command += ["--advertise-client-urls", self.etcd_url, "--listen-peer-urls", "http://127.0.0.1:2380"]
        self._start("etcd", [*command, "--unsafe-no-fsync", "--log-level", "error", "--enable-v2=false"])
        until(lambda: self.etcdctl("endpoint", "health", check=False).returncode == 0, "etcd is healthy")

    def start_felix(self) -> None:
        command = [sys.executable, "-m", "calico", "felix", "--node", NODE, "--run-dir", str(self.run_dir)]
        self._start("felix", [*command, "--etcd-endpoints", self.etcd_url])
        until(lambda: self.status.get("in_sync"), "Felix is in sync")

    @property
    def status(self) -> dict[str, Any]:
        with suppress(Transient):
            return read_status(self.run_dir / "felix.sock")
        return {}

    def options(self) -> list[str]:
        return ["--node", NODE, "--run-dir", str(self.run_dir), "--state-dir", str(self.state_dir)]

    def start_daemon(self, *program: str, under: Sequence[str] = (), **environment: str) -> None:
        """The daemon, or a program that takes its options; ``under`` a command that runs it."""
        command = [*under, sys.executable, *(program or ("-m", "calico", "cni-daemon")), *self.options()]
        command += ["--etcd-endpoints", self.etcd_url, "--socket", str(self.socket)]
        self._start("daemon", command, **environment)
        until(self._listens, "the daemon listens")

    def _listens(self) -> bool:
        assert self.processes["daemon"].poll() is None, self.log("daemon")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            if sock.connect_ex(str(self.socket)):
                return False
            sock.shutdown(socket.SHUT_WR)
            return sock.recv(1) == b""

    def log(self, name: str) -> str:
        path = self.directory / f"{name}.out"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def calico(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """The command on the host, as a person types it."""
        command = [*self.enter(), sys.executable, "-m", "calico", *arguments]
        environment = {**os.environ, "CALICO_ETCD_ENDPOINTS": self.etcd_url, "CALICO_RUN_DIR": str(self.run_dir)}
        environment |= {"CALICO_CNI_STATE_DIR": str(self.state_dir), "NODENAME": NODE}
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, env=environment)

    def install(self, *options: str) -> None:
        done = self.calico(
            "cni", "install", "--bin-dir", str(self.bin_dir), "--conf-dir", str(self.conf_dir),
            "--socket", str(self.socket), "--force", *options,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def close(self) -> None:
        for name in list(self.processes):
            with suppress(Exception):
                self.kill(name)
        for name in self.names:
            with suppress(NotFound):
                delete_netns(name)
        shutil.rmtree(self.directory, ignore_errors=True)

    # ---- the datastore

    def etcdctl(self, *arguments: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [*self.enter(), "etcdctl", "--endpoints", self.etcd_url, *arguments]
        environment = {**os.environ, "ETCDCTL_API": "3"}
        return subprocess.run(command, input=stdin, text=True, capture_output=True, check=check, env=environment)

    def put(self, kind: str, plural: str, name: str, spec: dict[str, Any], namespace: str = "") -> None:
        """Store a resource as any other writer would."""
        identity = {"uid": str(uuid.uuid5(uuid.NAMESPACE_URL, name)), "creationTimestamp": "2026-01-01T00:00:00Z"}
        metadata = {"name": name, **identity, **({"namespace": namespace} if namespace else {})}
        document = {"kind": kind, "apiVersion": "projectcalico.org/v3", "metadata": metadata, "spec": spec}
        path = f"{plural}/{namespace}/{name}" if namespace else f"{plural}/{name}"
        self.etcdctl("put", f"{RESOURCES}/{path}", stdin=json.dumps(document))

    def cluster(self) -> None:
        """What a cluster has from the start: two pools as well."""
        self.put("ClusterInformation", "clusterinformations", "default",
                 {"clusterGUID": "f" * 32, "datastoreReady": True})  # fmt: skip
        self.put("Tier", "tiers", "default", {"order": 1000000, "defaultAction": "Deny"})
        self.put("Node", "nodes", NODE, {})
        self.put("IPPool", "ippools", "v4", {"cidr": "10.77.0.0/24", "blockSize": 28})
        self.put("IPPool", "ippools", "v6", {"cidr": "fd77::/64", "blockSize": 124})

    def set_ready(self, ready: bool) -> None:
        self.put("ClusterInformation", "clusterinformations", "default",
                 {"clusterGUID": "f" * 32, "datastoreReady": ready})  # fmt: skip

    def values(self, prefix: str) -> dict[str, Any]:
        """Keys and values under a prefix."""
        found = json.loads(self.etcdctl("get", "--prefix", prefix, "-w", "json").stdout)
        from base64 import b64decode

        return {
            b64decode(kv["key"]).decode(): json.loads(b64decode(kv.get("value", "")) or b"{}")
            for kv in found.get("kvs", ())
        }

    @property
    def endpoints(self) -> dict[str, Any]:
        return {key.rpartition("/")[2]: value for key, value in self.values(f"{RESOURCES}/workloadendpoints/").items()}

    @property
    def handles(self) -> set[str]:
        return {key.rpartition("/")[2] for key in self.values("/calico/ipam/v2/handle/")}

    @property
    def allocated(self) -> int:
        """Addresses that blocks say are given out."""
        blocks = self.values("/calico/ipam/v2/assignment/").values()
        return sum(one is not None for block in blocks for one in block["allocations"])

    @property
    def cables(self) -> set[str]:
        """Interfaces of containers on the host."""
        with Links(self.host) as links:
            return {link.name for link in links.all() if link.kind == "veth"}

    @property
    def leftovers(self) -> dict[str, Any]:
        """All that attachments leave somewhere; empty values when nothing leaks."""
        return {
            "endpoints": set(self.endpoints),
            "handles": self.handles,
            "allocated": self.allocated,
            "cables": self.cables,
            "records": len(list(self.state_dir.rglob("*.json"))) if self.state_dir.exists() else 0,
        }

    def check_addresses(self) -> None:
        """Blocks, handles, endpoints, routes and interfaces of the host fit together, says `calico ipam check`."""
        done = self.calico("ipam", "check", "--node", NODE)
        assert done.returncode == 0, done.stdout + done.stderr

    def policy(self, name: str, spec: dict[str, Any]) -> None:
        """A policy of the whole cluster; returns when it is in the kernel."""
        document = {"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy",
                    "metadata": {"name": name}, "spec": spec}  # fmt: skip
        done = self.calico("apply", "--wait", "-f", "-", stdin=json.dumps(document))
        assert done.returncode == 0, done.stderr


NOTHING = {"endpoints": set(), "handles": set(), "allocated": 0, "cables": set(), "records": 0}


class Container:
    """A container to be: a namespace, an id, and calls of the plugin about it."""

    def __init__(self, world: World, identity: str, netns: str) -> None:
        self.world, self.identity, self.netns = world, identity, netns
        self.path = f"/run/netns/{netns}"

    def call(
        self,
        command: str,
        *,
        plugin: str = "calico",
        version: str = "1.1.0",
        args: str = "",
        ifname: str = "eth0",
        netns: str | None = None,
        enter: Sequence[str] | None = None,
        path: str = "",
        **config: Any,
    ) -> Answer:
        """One command of the plugin in a network ``net`` with our IPAM, unless ``config`` says otherwise."""
        command_line, stdin, environment = self._prepare(command, plugin, version, args, ifname, netns, path, config)
        where = self.world.enter() if enter is None else enter
        return Answer(
            subprocess.run([*where, *command_line], input=stdin, capture_output=True, check=False, env=environment)
        )

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """A command that is not waited for."""
        line, stdin, environment = self._prepare(command, "calico", "1.1.0", "", "eth0", None, "", {})
        process = subprocess.Popen([*self.world.enter(), *line], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                   env=environment)  # fmt: skip
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write(stdin)
            process.stdin.close()
        return process

    def _prepare(
        self,
        command: str,
        plugin: str,
        version: str,
        args: str,
        ifname: str,
        netns: str | None,
        path: str,
        config: dict[str, Any],
    ) -> tuple[list[str], bytes, dict[str, str]]:
        network = {"cniVersion": version, "name": "net", "type": "calico", "ipam": {"type": "calico-ipam"}, **config}
        environment = {
            "PATH": os.environ["PATH"], "CNI_COMMAND": command, "CNI_CONTAINERID": self.identity,
            "CNI_NETNS": self.path if netns is None else netns, "CNI_IFNAME": ifname, "CNI_ARGS": args,
            "CNI_PATH": path or f"{self.world.bin_dir}:/usr/lib/cni",
        }  # fmt: skip
        executable = str(self.world.bin_dir / plugin)
        return [executable], json.dumps(network).encode(), {k: v for k, v in environment.items() if v}

    def add(self, **options: Any) -> Answer:
        answer = self.call("ADD", **options)
        assert answer.code == 0, answer.text + answer.err
        return answer

    def delete(self, **options: Any) -> Answer:
        answer = self.call("DEL", **options)
        assert answer.code == 0, answer.text + answer.err
        return answer

    def pod(self, name: str, namespace: str = "default") -> str:
        """CNI_ARGS as containerd gives them for a pod."""
        return f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};K8S_POD_INFRA_CONTAINER_ID=x"

    @property
    def addresses(self) -> set[str]:
        with Links(self.netns) as links:
            from ipaddress import ip_address

            return {str(ip_address(one.address)) for one in links.addresses("eth0") if one.scope == 0}

    def listen(self, port: int) -> socket.socket:
        """A TCP server in the container."""
        sock = in_netns(self.netns, lambda: socket.socket(socket.AF_INET6, socket.SOCK_STREAM))
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", port))
        sock.listen(16)
        return sock

    def sends_datagram(self, address: str, port: int, receiver: socket.socket) -> bool:
        """Whether one single UDP packet arrives; nothing is sent again."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with in_netns(self.netns, lambda: socket.socket(family, socket.SOCK_DGRAM)) as sock:
            sock.sendto(b"first", (address, port))
            try:
                return receiver.recv(10) == b"first"
            except TimeoutError:
                return False

    def receives(self, port: int, family: int = 4, timeout_s: float = 2.0) -> socket.socket:
        """A UDP socket in the container."""
        kind = socket.AF_INET6 if family == 6 else socket.AF_INET
        sock = in_netns(self.netns, lambda: socket.socket(kind, socket.SOCK_DGRAM))
        sock.bind(("::" if family == 6 else "0.0.0.0", port))
        sock.settimeout(timeout_s)
        return sock
