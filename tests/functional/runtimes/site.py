"""A host for container runtimes: a namespace, one list of CNI plugins, and a folder of plugins."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from calico.dataplane.netns import create_netns, delete_netns
from functional.runtimes.leftovers import end_cgroup

__all__ = ["DEBIAN_PLUGINS", "Site"]

DEBIAN_PLUGINS = Path("/usr/lib/cni")
_USED = ("bandwidth", "bridge", "host-local", "loopback", "portmap", "ptp", "tuning")


class Site:
    """What the runtimes of one host share. The namespace is somebody else's when it is given."""

    def __init__(self, directory: Path, netns: str, *, make_netns: bool = False) -> None:
        self.directory, self.netns, self.cgroup = directory, netns, f"/{netns}"
        self.enter = ("nsenter", f"--net=/run/netns/{netns}")
        self.conf_dir, self.bin_dir = directory / "net.d", directory / "bin"
        self.conflist = self.conf_dir / "10-test.conflist"
        self.made: list[str] = []
        self.conf_dir.mkdir(parents=True)
        self.bin_dir.mkdir()
        if make_netns:
            self.make_netns(netns)
        for name in _USED:  # the same file on one file system, so that it costs nothing
            try:
                os.link(DEBIAN_PLUGINS / name, self.bin_dir / name)
            except OSError:
                shutil.copy(DEBIAN_PLUGINS / name, self.bin_dir / name)

    def make_netns(self, name: str) -> str:
        """A namespace that ends with the site."""
        create_netns(name)
        self.made.append(name)
        self.ip(name, "link", "set", "lo", "up")
        return name

    def workload(self, name: str) -> str:
        """A namespace without anything, as a container's before its network is made."""
        return self.make_netns(f"{self.netns}-{name}")

    def end_workload(self, netns: str) -> None:
        """The namespace goes, as when a host was rebooted."""
        delete_netns(netns)
        self.made.remove(netns)

    def end_workloads(self) -> None:
        for netns in [name for name in self.made if name != self.netns]:
            self.end_workload(netns)

    def configure(
        self, *plugins: dict[str, Any], name: str = "testnet", version: str = "1.0.0", file: Path | None = None
    ) -> None:
        """The one list of plugins that all runtimes of this host call; podman is told of others by ``file``."""
        path = file or self.conflist
        path.write_text(json.dumps({"cniVersion": version, "name": name, "plugins": list(plugins)}, indent=1))

    def run(self, *command: str, **options: Any) -> str:
        """What a command on this host prints; the test fails if the command does."""
        done = self.attempt(*command, **options)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def attempt(
        self, *command: str, timeout: float = 60, stdin: str = "", environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A command on this host, whatever comes of it."""
        return subprocess.run(
            [*self.enter, *command], capture_output=True, text=True, check=False, timeout=timeout, input=stdin,
            env={**os.environ, **(environment or {})},
        )  # fmt: skip

    @staticmethod
    def ip(netns: str, *arguments: str) -> str:
        done = subprocess.run(["ip", "-n", netns, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def links(self) -> set[str]:
        """The names of the host's interfaces."""
        return {link["ifname"] for link in json.loads(self.ip(self.netns, "-j", "link"))}

    def close(self) -> None:
        end_cgroup(self.cgroup)
        for name in self.made:
            delete_netns(name)
