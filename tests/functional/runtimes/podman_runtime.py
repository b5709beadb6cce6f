"""Debian's podman with the CNI backend, on one host: storage, state and configuration of its own."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from functional.runtimes.images import BUSYBOX
from functional.runtimes.leftovers import unmount_below
from functional.runtimes.site import Site

__all__ = ["Podman"]

_CONFIG = """[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
cgroups = "enabled"
[network]
network_backend = "cni"
network_config_dir = "{conf_dir}"
cni_plugin_dirs = ["{bin_dir}"]
default_network = "{network}"
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "file"
tmp_dir = "{directory}/tmp"
static_dir = "{directory}/static"
"""
_LIBCNI_CACHE = Path("/var/lib/cni/results")
_LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")  # the hard limits may not be raised here


class Podman:
    """The command, always with this host's configuration."""

    def __init__(self, site: Site, archive: Path, network: str = "testnet") -> None:
        self.site = site
        self.directory = site.directory / "podman"
        self.directory.mkdir()
        config = self.directory / "containers.conf"
        config.write_text(
            _CONFIG.format(conf_dir=site.conf_dir, bin_dir=site.bin_dir, network=network, directory=self.directory)
        )
        storage = self.directory / "storage.conf"
        storage.write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{self.directory}/root"\nrunroot = "{self.directory}/run"\n'
        )
        self.environment = {"CONTAINERS_CONF": str(config), "CONTAINERS_STORAGE_CONF": str(storage)}
        self.network = network
        self._ids: list[str] = []
        self("load", "--quiet", "-i", str(archive))

    def __call__(self, *arguments: str, timeout: float = 60) -> str:
        """What podman prints; the test fails if it does."""
        return self.site.run("podman", *arguments, timeout=timeout, environment=self.environment)

    def attempt(self, *arguments: str, timeout: float = 60) -> Any:
        return self.site.attempt("podman", *arguments, timeout=timeout, environment=self.environment)

    def run(self, name: str, *command: str, options: tuple[str, ...] = ()) -> str:
        """A container in the background; its addresses are asked for by name."""
        words = ["run", "--detach", "--name", name, "--hostname", name, *_LIMITS, *options]
        words += [] if "--network" in options else ["--network", self.network]
        identity = self(*words, "--cgroup-parent", f"{self.site.cgroup}/podman", BUSYBOX, *command).strip()
        self._ids.append(identity)
        return identity

    def address(self, name: str, network: str = "") -> str:
        networks = json.loads(self("inspect", name))[0]["NetworkSettings"]["Networks"]
        return str(networks[network or self.network]["IPAddress"])

    def exec(self, name: str, *command: str) -> tuple[int, str]:
        done = self.attempt("exec", name, *command)
        return done.returncode, done.stdout + done.stderr

    def remove(self, name: str) -> None:
        self("rm", "--force", "--time", "0", name)

    def remove_all(self) -> None:
        self("rm", "--all", "--force", "--time", "0")

    def close(self) -> None:
        with suppress(Exception):
            self.remove_all()
        with suppress(Exception):
            self("system", "reset", "--force")
        unmount_below(self.directory)
        for identity in self._ids:  # libcni remembers containers that podman has forgotten
            for path in _LIBCNI_CACHE.glob(f"*-{identity}-*"):
                path.unlink()
