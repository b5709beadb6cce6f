"""One host of a Calico network that runs containers: BIRD, Felix, the CNI daemon and the installed plugin.

The processes are the real ones, started as the units of `calico node install` start them.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from calico.errors import Transient
from calico.obs.statussocket import read_status
from functional.bgp.conftest import Fabric, Host
from functional.runtimes.containerd_runtime import Containerd
from functional.runtimes.libcni_runner import LibCni
from functional.runtimes.podman_runtime import Podman
from functional.runtimes.site import Site

__all__ = ["NETWORK", "Node", "until"]

NETWORK = "testnet"
_ENDING = Path(__file__).parents[1] / "cni" / "cni_ending.py"
_DEADLINE_S = 60.0


def until(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of ``condition``; the deadline bounds a failing test only."""
    end = time.monotonic() + _DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < end, f"it never happened that {what}"
        time.sleep(0.02)
    return found


class Node:
    """One host: its daemons, and the runtimes that a test asks for."""

    def __init__(self, fabric: Fabric, archive: Path, number: int) -> None:
        self.fabric, self.archive = fabric, archive
        self.host: Host = fabric.add_host(number)
        self.site = Site(fabric.directory / f"site{number}", self.host.netns)
        self.state_dir = self.site.directory / "cni"
        self.felix: subprocess.Popen[bytes] | None = None
        self.daemon: subprocess.Popen[bytes] | None = None
        self._runner: LibCni | None = None
        self._newer_runner: LibCni | None = None
        self._stack = ExitStack()
        self._stack.callback(self.site.close)
        self.start_felix()
        self.install()
        self.start_daemon()

    def _start(self, name: str, *program: str, **environment: str) -> subprocess.Popen[bytes]:
        command = [*self.site.enter, sys.executable, *program]
        with open(self.fabric.directory / f"{self.host.name}-{name}.log", "ab") as output:
            return subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **environment})

    def install(self, *options: str) -> None:
        """Put the plugin beside Debian's, as an operator does."""
        places = f"--bin-dir {self.site.bin_dir} --conf-dir {self.site.conf_dir} --file {self.site.conflist.name}"
        places += f" --name {NETWORK} --socket {self.host.run_dir}/cni.sock --force"
        self.site.run(sys.executable, "-m", "calico", "cni", "install", *places.split(), *options)

    def start_daemon(self, *, end_at: str = "") -> None:
        """The CNI daemon, or one that kills itself when it reaches a step; it answers when this returns."""
        path = self.host.run_dir / "cni.sock"
        program = [str(_ENDING)] if end_at else ["-m", "calico", "cni-daemon", "--sweep-interval", "0.5"]
        program += ["--node", self.host.name, "--run-dir", str(self.host.run_dir), "--socket", str(path)]
        program += ["--state-dir", str(self.state_dir), "--etcd-endpoints", self.fabric.etcd_url]
        self.daemon = self._start("cni", *program, CNI_TEST_END_AT=end_at)
        until(lambda: _listens(path), "the CNI daemon listens")

    def kill_daemon(self) -> None:
        assert self.daemon is not None
        self.daemon.kill()
        self.daemon.wait()

    def start_felix(self) -> None:
        options = ["--node", self.host.name, "--run-dir", str(self.host.run_dir)]
        self.felix = self._start("felix", "-m", "calico", "felix", *options, "--etcd-endpoints", self.fabric.etcd_url)

    @property
    def felix_status(self) -> dict[str, Any]:
        try:
            return read_status(self.host.run_dir / "felix.sock")
        except Transient:
            return {"in_sync": False}

    def start_again(self) -> None:
        """Whatever of it has ended."""
        if self.daemon is None or self.daemon.poll() is not None:
            self.start_daemon()
        if "containerd" in self.__dict__ and self.containerd.has_ended:
            self.containerd.start()

    def configure(self, *chained: dict[str, Any], version: str = "1.0.0", **fields: Any) -> None:
        """Our plugin, and others behind it."""
        capabilities = {"ips": True, "mac": True}
        ours = {"type": "calico", "ipam": {"type": "calico-ipam"}, "capabilities": capabilities, **fields}
        self.site.configure(ours, *chained, name=NETWORK, version=version)

    @cached_property
    def containerd(self) -> Containerd:
        """containerd on this host, started."""
        made = Containerd(self.site, self.archive)
        self._stack.callback(made.close)
        made.start()
        return made

    @cached_property
    def podman(self) -> Podman:
        """podman on this host."""
        made = Podman(self.site, self.archive)
        self._stack.callback(made.close)
        return made

    def libcni(self) -> LibCni:
        """libcni's runner on this host."""
        self._runner = self._runner or LibCni(self.site)
        return self._runner

    def newer_libcni(self) -> LibCni:
        """That of libcni 1.3, which knows GC and STATUS."""
        self._newer_runner = self._newer_runner or LibCni(self.site, newer=True)
        return self._newer_runner

    def check_addresses(self) -> None:
        """What `calico ipam check` says of the cluster's addresses and of this host's kernel: nothing is wrong."""
        self.calico("ipam", "check", "--node", self.host.name)

    def calico(self, *arguments: str, stdin: str = "") -> str:
        """The command on this host."""
        environment = {"CALICO_ETCD_ENDPOINTS": self.fabric.etcd_url, "CALICO_RUN_DIR": str(self.host.run_dir)}
        return self.site.run(sys.executable, "-m", "calico", *arguments, stdin=stdin, environment=environment)

    def workload_links(self) -> set[str]:
        """The host ends of workloads that are in the kernel."""
        return {name for name in self.site.links() if name.startswith("cali")}

    def workload_routes(self) -> set[str]:
        """The local routes to workloads."""
        found: set[str] = set()
        for family in ("-4", "-6"):
            routes = json.loads(self.site.ip(self.site.netns, family, "-j", "route", "show", "proto", "80"))
            found |= {route["dst"] for route in routes if route.get("dev", "").startswith("cali")}
        return found

    def remove_containers(self) -> None:
        """Every container of every runtime that was started here, and every namespace of a workload."""
        started = self.__dict__  # what the cached properties have made
        if "containerd" in started:
            self.containerd.remove_all()
        if "podman" in started:
            self.podman.remove_all()
        for runner in (self._runner, self._newer_runner):
            if runner is not None:
                runner.remove_all()
        self.site.end_workloads()

    def close(self) -> None:
        """Runtimes first, while their plugins can still be called."""
        self._stack.close()
        for process in (self.daemon, self.felix):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client, suppress(OSError):
        client.connect(str(path))
        return True
    return False
