"""A whole node in a network namespace: containerd, kubelet and kube-proxy, beside a Felix and our CNI plugin."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from cluster.api import Refused
from cluster.control_plane import ControlPlane
from cluster.plain import PlainHost
from functional.runtimes.containerd_runtime import Containerd
from functional.runtimes.leftovers import unmount_below
from functional.runtimes.site import Site
from stack.process import Process, until

__all__ = ["BareHost", "Node", "node_users"]

_CGROUPS = Path("/sys/fs/cgroup")


def node_users(*names: str) -> dict[str, list[str]]:
    """Users of the API server that nodes of these names are."""
    return {"system:kube-proxy": [], **{f"system:node:{name}": ["system:nodes"] for name in names}}


class BareHost:
    """A host without anything of ours: what a cluster's node is before its network is installed."""

    def __init__(self, plane: ControlPlane, directory: Path, netns: str, node: str) -> None:
        self.plane, self.directory, self.netns, self.node = plane, directory, netns, node
        self.enter = ("nsenter", f"--net=/run/netns/{netns}")
        directory.mkdir(parents=True)


class Node:
    """``host`` has the CNI daemon, unless it is bare; ``archive`` the images; ``address`` is its own.

    The caller ends it.
    """

    def __init__(
        self,
        host: PlainHost | BareHost,
        archive: Path,
        address: str,
        env: Mapping[str, str],
        runtime: type[Containerd] = Containerd,
    ) -> None:
        self.host, self.plane = host, host.plane
        self.directory = host.directory / "node"
        self.site = Site(self.directory, host.netns)
        if isinstance(host, PlainHost):
            host.install(self.site.bin_dir)
            ours = {key: value for key, value in host.network.items() if key not in ("cniVersion", "name")}
            portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
            self.site.configure(ours, portmap, name="k8s-pod-network")
        with (self.plane.directory / "cgroups").open("a") as cgroups:  # for the guard
            cgroups.write(f"{self.site.cgroup}\n")
        _make_cgroup(self.site.cgroup)
        self.containerd = runtime(self.site, archive)
        self.kubelet = self._process("kubelet", self._kubelet(address), env)
        self.proxy = self._process("kube-proxy", self._proxy(address), env)

    def start(self) -> None:
        self.containerd.start()
        self.plane.api.delete(f"/api/v1/nodes/{self.host.node}")  # a kubelet ends at one without any capacity
        self.kubelet.start()
        self.proxy.start()

    def await_ready(self) -> None:
        """The API says that it takes pods, by the kubelet's own word."""
        until(f"node {self.host.node} is ready", self._is_ready, 90, dump=self.kubelet.last_words)

    def _is_ready(self) -> bool:
        assert self.kubelet.running, self.kubelet.last_words()
        with suppress(Refused):
            status = self.plane.api.get(f"/api/v1/nodes/{self.host.node}")["status"]
            ready = [one for one in status["conditions"] if one["type"] == "Ready"]
            return [(one["status"], one["reason"]) for one in ready] == [("True", "KubeletReady")]
        return False

    def close(self) -> None:
        """Pods end while their plugin can still be called."""
        self.proxy.stop()
        self.kubelet.stop()
        with suppress(Exception):
            self.containerd.remove_all()
        self.containerd.close()
        unmount_below(self.directory)
        self.site.close()

    def _process(self, name: str, arguments: list[str], env: Mapping[str, str]) -> Process:
        argv = [*self.host.enter, str(self.plane.binaries / name), *arguments]
        return Process(name, argv, self.plane.directory / f"{name}-{self.host.node}.log", env=env)

    def _kubelet(self, address: str) -> list[str]:
        nothing = dict.fromkeys(
            ("memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available"), "0%"
        )
        config = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "cgroupDriver": "cgroupfs", "cgroupRoot": self.site.cgroup, "enforceNodeAllocatable": [],
            "failSwapOn": False, "oomScoreAdj": 0, "evictionHard": nothing, "imageGCHighThresholdPercent": 100,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "volumePluginDir": str(self.directory / "volume-plugins"), "clusterDomain": "cluster.local",
        }  # fmt: skip
        path = self.directory / "kubelet.json"
        path.write_text(json.dumps(config))
        return [
            "--config", str(path), "--kubeconfig", self.plane.kubeconfig(f"system:node:{self.host.node}"),
            "--root-dir", str(self.directory / "kubelet"), "--cert-dir", str(self.directory / "certs"),
            "--container-runtime=remote", "--container-runtime-endpoint", f"unix://{self.containerd.socket}",
            "--hostname-override", self.host.node, "--node-ip", address,
        ]  # fmt: skip

    def _proxy(self, address: str) -> list[str]:
        return [
            "--kubeconfig", self.plane.kubeconfig("system:kube-proxy"), "--proxy-mode=iptables",
            "--conntrack-max-per-core=0", "--hostname-override", self.host.node, "--bind-address", address,
        ]  # fmt: skip


def _make_cgroup(cgroup: str) -> None:
    """The root of a kubelet's cgroups in every hierarchy; an empty list of processors takes no processes."""
    for hierarchy in (path for path in _CGROUPS.iterdir() if path.is_dir() and (path / "cgroup.procs").exists()):
        folder = hierarchy / cgroup.lstrip("/")
        folder.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (hierarchy / name).exists():
                (folder / name).write_text((hierarchy / name).read_text())
