"""Pods that are plain network namespaces: what the kubelet and a runtime do to the API and to our CNI plugin, no more.

host = PlainHost(plane, directory, netns, "node1", etcd="http://127.0.0.1:2379", run_dir=felix_dir)
pod = host.run({"metadata": {"name": "web", "namespace": "shop"}, "spec": {...}}, "netns-of-web")
pod.delete()
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from calico.dataplane.netns import create_netns, delete_netns
from calico.errors import NotFound
from cluster.api import Refused
from cluster.control_plane import ControlPlane
from stack.process import Process, until

__all__ = ["PlainHost", "PlainPod", "allow"]

_PODS_OF_CNI = [
    {"apiGroups": [""], "resources": ["pods", "namespaces", "nodes"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["pods/status"], "verbs": ["patch"]},
]


def allow(plane: ControlPlane, user: str, rules: Iterable[Mapping[str, Any]]) -> None:
    """A ClusterRole of the user's own, and its binding."""
    group = "/apis/rbac.authorization.k8s.io/v1"
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": f"test-{user}"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}
    named = {"metadata": {"name": role["name"]}}
    plane.api.put(f"{group}/clusterroles", {**named, "rules": list(rules)})
    plane.api.put(f"{group}/clusterrolebindings", {**named, "roleRef": role, "subjects": [subject]})


class PlainHost:
    """A host whose Felix runs already: the CNI daemon, the installed plugin, and a Node of the API."""

    def __init__(
        self,
        plane: ControlPlane,
        directory: Path,
        netns: str,
        node: str,
        *,
        etcd: str,
        run_dir: Path,
        env: Mapping[str, str] = {},
        **network: Any,
    ) -> None:
        self.plane, self.directory, self.netns, self.node = plane, directory, netns, node
        self.enter = ("nsenter", f"--net=/run/netns/{netns}")
        self.env = {**os.environ, **env}
        directory.mkdir(parents=True, exist_ok=True)
        self.bin_dir, self._socket = directory / "bin", directory / "cni.sock"
        ipam = {"type": "calico-ipam", "assign_ipv4": "true", "assign_ipv6": "true"}
        self.network = {
            "cniVersion": "1.0.0", "name": "k8s-pod-network", "type": "calico", "ipam": ipam,
            "policy": {"type": "k8s"}, "kubernetes": {"kubeconfig": plane.kubeconfig("calico-cni")}, **network,
        }  # fmt: skip
        options = ["--node", node, "--run-dir", str(run_dir), "--state-dir", str(directory / "state")]
        options += ["--socket", str(self._socket), "--etcd-endpoints", etcd]
        argv = [*self.enter, sys.executable, "-m", "calico", "cni-daemon", *options]
        self.daemon = Process("cni-daemon", argv, plane.directory / f"cni-{node}.log", env=env)
        allow(plane, "calico-cni", _PODS_OF_CNI)
        plane.add_node(node)

    def start(self) -> None:
        """Installs the plugin and starts its daemon; again after a kill."""
        if not self.bin_dir.exists():
            self.install(self.bin_dir)
        self.daemon.start()
        until(f"the CNI daemon of {self.node} listens", self._listens, dump=self.daemon.last_words)

    def install(self, folder: Path) -> None:
        """The plugin, as an operator puts it into a folder of plugins."""
        places = ["--bin-dir", str(folder), "--conf-dir", str(self.directory / "net.d")]
        places += ["--socket", str(self._socket), "--force"]
        command = [*self.enter, sys.executable, "-m", "calico", "cni", "install", *places]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=self.env)
        assert done.returncode == 0, done.stderr

    def _listens(self) -> bool:
        assert self.daemon.running, self.daemon.last_words()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client, suppress(OSError):
            client.connect(str(self._socket))
            return True
        return False

    def run(self, pod: Mapping[str, Any], netns: str) -> PlainPod:
        """A pod of this host: created and bound through the API, attached by our plugin, and reported to run."""
        made = PlainPod(self, pod, netns)
        made.create()
        made.attach()
        return made

    def close(self) -> None:
        """End the daemon; containers keep their network."""
        self.daemon.stop()


class PlainPod:
    """``pod`` is its manifest: metadata with name and namespace, and what else the test wants of it."""

    def __init__(self, host: PlainHost, pod: Mapping[str, Any], netns: str) -> None:
        self.host, self.netns = host, netns
        self.namespace, self.name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        self.collection = f"/api/v1/namespaces/{self.namespace}/pods"
        self.path = f"{self.collection}/{self.name}"
        containers = [{"name": "main", "image": "none"}]
        self.manifest = {**pod, "spec": {"containers": containers, **pod.get("spec", {})}}
        self.sandbox = ""
        self.addresses: tuple[str, ...] = ()

    def create(self) -> None:
        """The object, bound to the host as the scheduler would."""
        self.host.plane.api.create(self.collection, self.manifest)
        target = {"apiVersion": "v1", "kind": "Node", "name": self.host.node}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": self.name}, "target": target}
        self.host.plane.api.create(f"{self.path}/binding", binding)

    def attach(self) -> None:
        """A new sandbox: its namespace, ADD, and the status that the kubelet would report."""
        create_netns(self.netns)
        subprocess.run(["ip", "-n", self.netns, "link", "set", "lo", "up"], check=True)
        self.sandbox = os.urandom(16).hex()
        result = self.cni("ADD")
        self.addresses = tuple(one["address"].partition("/")[0] for one in result["ips"])
        status = {
            "phase": "Running", "podIP": self.addresses[0], "podIPs": [{"ip": one} for one in self.addresses],
            "conditions": [{"type": kind, "status": "True"} for kind in ("Initialized", "Ready", "ContainersReady")],
        }  # fmt: skip
        self.host.plane.api.patch(f"{self.path}/status", {"status": status})

    def cni(self, command: str) -> dict[str, Any]:
        """One command of the plugin about this pod's sandbox; AssertionError with its words when it fails."""
        name = f"K8S_POD_NAMESPACE={self.namespace};K8S_POD_NAME={self.name}"
        environment = {
            "PATH": os.environ["PATH"], "CNI_COMMAND": command, "CNI_CONTAINERID": self.sandbox, "CNI_IFNAME": "eth0",
            "CNI_NETNS": f"/run/netns/{self.netns}", "CNI_PATH": f"{self.host.bin_dir}:/usr/lib/cni",
            "CNI_ARGS": f"IgnoreUnknown=1;{name};K8S_POD_INFRA_CONTAINER_ID={self.sandbox}",
        }  # fmt: skip
        done = subprocess.run(
            [*self.host.enter, str(self.host.bin_dir / "calico")], input=json.dumps(self.host.network), text=True,
            capture_output=True, check=False, env=environment,
        )  # fmt: skip
        words = f"{done.stdout}{done.stderr}\n{self.host.daemon.last_words()}"
        assert done.returncode == 0, f"{command} of {self.namespace}/{self.name}: {words}"
        return dict(json.loads(done.stdout)) if done.stdout.strip() else {}

    def detach(self) -> None:
        """DEL, and the namespace goes."""
        if self.sandbox:
            self.cni("DEL")
            self.sandbox = ""
        with suppress(NotFound):
            delete_netns(self.netns)

    def delete(self) -> None:
        """What the kubelet does: the sandbox ends, then the object goes."""
        self.detach()
        self.host.plane.api.delete(self.path, grace_s=0)

    def exists(self) -> bool:
        """Whether the API has it."""
        with suppress(Refused):
            return bool(self.host.plane.api.get(self.path))
        return False
