"""Debian's containerd on one host: root, state, socket and configuration of its own, driven over CRI and by ctr."""

from __future__ import annotations

import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc

from functional.runtimes.cri_wire import Cri, message
from functional.runtimes.images import BUSYBOX, PAUSE
from functional.runtimes.leftovers import end_cgroup, end_shims, unmount_below
from functional.runtimes.site import Site

__all__ = ["Containerd", "Pod"]

_CONFIG = """version = 2
root = "{root}"
state = "{state}"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp"]
[grpc]
address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
path = "{root}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{bin_dir}"
conf_dir = "{conf_dir}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
Root = "{state}/runc"
"""
_DEADLINE_S = 60.0


class Pod:
    """A sandbox with one container, as the kubelet would run it."""

    def __init__(self, runtime: Containerd, sandbox: str, container: str) -> None:
        self.runtime, self.sandbox, self.container = runtime, sandbox, container

    @property
    def address(self) -> str:
        return self.addresses[0]

    @property
    def addresses(self) -> list[str]:
        """The addresses that the runtime learned from the plugin."""
        network = self.runtime.cri.call("PodSandboxStatus", pod_sandbox_id=self.sandbox).status.network
        return [network.ip, *(one.ip for one in network.additional_ips)]

    def exec(self, *command: str, timeout: int = 20) -> tuple[int, str]:
        """Exit code and output of a command in the container."""
        done = self.runtime.cri.call("ExecSync", container_id=self.container, cmd=command, timeout=timeout)
        return done.exit_code, (done.stdout + done.stderr).decode()

    def stop(self) -> None:
        """What the kubelet does when a pod is deleted."""
        self.runtime.remove(self.sandbox)


class Containerd:
    """The daemon and its clients. It may be killed and started again: containers stay."""

    waits_for_network = True
    config = _CONFIG

    def __init__(self, site: Site, archive: Path) -> None:
        self.site, self.archive = site, archive
        self.directory = site.directory / "ctd"
        self.socket = self.directory / "s"
        self.cgroup = f"{site.cgroup}/ctd"
        self.process: subprocess.Popen[bytes] | None = None
        self.cri = Cri(str(self.socket))
        self.directory.mkdir()
        config = self.config.format(
            root=self.directory / "root", state=self.directory / "state", socket=self.socket, pause=PAUSE,
            bin_dir=site.bin_dir, conf_dir=site.conf_dir,
        )  # fmt: skip
        (self.directory / "config.toml").write_text(config)

    def start(self) -> None:
        command = [*self.site.enter, "containerd", "--config", str(self.directory / "config.toml")]
        with open(self.site.directory / "containerd.log", "ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        self._wait_until_ready()
        if BUSYBOX not in self.ctr("-n", "k8s.io", "images", "ls", "-q"):
            self.ctr("-n", "k8s.io", "images", "import", str(self.archive))

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _DEADLINE_S
        while True:
            with suppress(grpc.RpcError):
                conditions = self.cri.call("Status", timeout=5).status.conditions
                wanted = conditions if self.waits_for_network else conditions[:1]
                if wanted and all(condition.status for condition in wanted):
                    return
            assert time.monotonic() < deadline, f"containerd is not ready: {self._last_words()}"
            time.sleep(0.02)

    def _last_words(self) -> str:
        return (self.site.directory / "containerd.log").read_text()[-3000:]

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def ctr(self, *arguments: str, timeout: float = 60) -> str:
        return self.site.run("ctr", "-a", str(self.socket), *arguments, timeout=timeout)

    def ctr_with_network(self, name: str, *command: str) -> str:
        """What a command prints in a container that ``ctr run --cni`` attaches and, at the command's end, detaches.

        Debian's ctr looks into /etc/cni/net.d and /usr/lib/cni: it sees ours there, in a mount namespace of its own.
        """
        ctr = f"ctr -a {self.socket} -n k8s.io run --rm --cni --cgroup {self.cgroup}/{name}"
        ctr += f" --runc-root {self.directory}/state/runc {BUSYBOX} {name}"
        script = 'mkdir -p /etc/cni/net.d && mount --bind "$1" /etc/cni/net.d && mount --bind "$2" /usr/lib/cni\n'
        script += f'shift 2; exec {ctr} "$@"'
        places = [str(self.site.conf_dir), str(self.site.bin_dir)]
        return self.site.run(
            "unshare", "--mount", "--propagation", "private", "sh", "-euc", script, "sh", *places, *command
        )

    def sandbox_config(self, name: str, namespace: str = "default", attempt: int = 0, ports: Any = ()) -> Any:
        """A pod as the kubelet describes it. CLONE of the pid namespace: a container has its own."""
        return message(
            "PodSandboxConfig",
            metadata=message(
                "PodSandboxMetadata", name=name, uid=f"uid-{namespace}-{name}", namespace=namespace, attempt=attempt
            ),
            hostname=name,
            log_directory=str(self.directory / "logs"),
            port_mappings=[message("PortMapping", **port) for port in ports],
            linux=message(
                "LinuxSandbox",
                cgroup_parent=self.cgroup,
                security_context=message("SandboxSecurity", namespace_options=message("NamespaceOption", pid=1)),
            ),
        )

    def run_pod(self, name: str, *command: str, **options: Any) -> Pod:
        """Sandbox, container, start. The command's default is to sleep."""
        config = self.sandbox_config(name, **options)
        return self.run_container(config, self.cri.call("RunPodSandbox", config=config).pod_sandbox_id, *command)

    def run_container(self, config: Any, sandbox: str, *command: str) -> Pod:
        """A container in a sandbox that is there."""
        name = config.metadata.name
        container = message(
            "ContainerConfig",
            metadata=message("ContainerMetadata", name="main", attempt=config.metadata.attempt),
            image=message("ImageSpec", image=BUSYBOX),
            command=command or ("/bin/sleep", "1000000"),
            log_path=f"{name}.log",
        )
        made = self.cri.call("CreateContainer", pod_sandbox_id=sandbox, config=container, sandbox_config=config)
        self.cri.call("StartContainer", container_id=made.container_id)
        return Pod(self, sandbox, made.container_id)

    def sandboxes(self) -> list[str]:
        return [one.id for one in self.cri.call("ListPodSandbox").items]

    @property
    def has_ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def remove_all(self) -> None:
        """Every pod, as the kubelet does when it finds pods that nobody wants."""
        for sandbox in self.sandboxes():
            self.remove(sandbox)

    def remove(self, sandbox: str) -> None:
        self.cri.call("StopPodSandbox", pod_sandbox_id=sandbox)
        self.cri.call("RemovePodSandbox", pod_sandbox_id=sandbox)

    def close(self) -> None:
        """End everything that this containerd started, also what outlives it."""
        if self.process is not None and self.process.poll() is None:
            with suppress(grpc.RpcError):
                self.remove_all()
            self.process.terminate()
            self.process.wait(timeout=20)
        self.cri.close()
        end_cgroup(self.cgroup)
        end_shims(str(self.socket))
        unmount_below(self.directory)
