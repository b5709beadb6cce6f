"""A real LXC container whose hooks plug it in and take it out, as the how-to has them."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from cni_world import NODE, NOTHING, World, until

pytestmark = [
    pytest.mark.runtimes,
    pytest.mark.skipif(shutil.which("lxc-start") is None, reason="needs Debian's lxc (`make runtimes`)"),
    pytest.mark.skipif(not Path("/bin/busybox").exists(), reason="needs Debian's busybox-static (`make runtimes`)"),
]

HOOKS = {
    "start-host": 'exec calico endpoint add "$LXC_NAME" --netns "pid:$LXC_PID" --network net',
    "post-stop": 'calico endpoint remove "$LXC_NAME" || true',
}


def rootfs(world: World) -> Path:
    root = world.directory / "rootfs"
    for name in ("bin", "proc", "sys", "dev"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin")
    for name in ("sleep", "ping"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "dev" / "null").touch()
    return root


def configure(world: World, name: str) -> Path:
    """The container's folder with its configuration and hooks."""
    folder = world.directory / "lxc" / name
    folder.mkdir(parents=True)
    environment = f"export CALICO_ETCD_ENDPOINTS={world.etcd_url} CALICO_RUN_DIR={world.run_dir} NODENAME={NODE}"
    environment += f" CALICO_CNI_STATE_DIR={world.state_dir}"
    lines = [f"lxc.rootfs.path = dir:{rootfs(world)}", "lxc.net.0.type = empty", "lxc.apparmor.profile = unconfined",
             "lxc.init.cmd = /bin/sleep 600", "lxc.autodev = 0", "lxc.mount.auto = proc sys:ro",
             # LXC changes the mode of what programs in it have as input and output, but of what it sees to be /dev/null
             "lxc.mount.entry = /dev/null dev/null none bind 0 0"]  # fmt: skip
    for hook, command in HOOKS.items():
        script = folder / hook
        script.write_text(f'#!/bin/sh\n{environment}\ncalico() {{ {sys.executable} -m calico "$@"; }}\n'
                          f"{command.replace('exec calico', 'calico')}\n")  # fmt: skip
        script.chmod(0o755)
        lines.append(f"lxc.hook.{hook} = {script}")
    (folder / "config").write_text("\n".join(lines) + "\n")
    return folder


def test_an_lxc_container_is_plugged_in_by_its_hook_and_taken_out_when_it_ends(world: World) -> None:
    name = f"{world.prefix}-lxc"
    folder, peer = configure(world, name), world.container()
    peer.add()

    def lxc(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        words = [*world.enter(), f"lxc-{command}", "-P", str(folder.parent), "-n", name, *arguments]
        environment = {**os.environ, "LC_ALL": "C"}
        return subprocess.run(words, input="", capture_output=True, text=True, check=False, env=environment)

    log = folder / "log"
    try:
        started = lxc("start", "-o", str(log), "-l", "INFO")
        assert started.returncode == 0, started.stderr + log.read_text()[-3000:]
        (own,) = (one["spec"]["ipNetworks"] for one in world.endpoints.values() if one["spec"]["containerID"] == name)
        inside = lxc("attach", "--", "/bin/ping", "-c", "1", "-W", "5", sorted(peer.addresses)[0])
        assert "1 packets received" in inside.stdout, inside.stdout + inside.stderr
        reached = subprocess.run(["ip", "netns", "exec", peer.netns, "ping", "-c1", "-W5", own[0].partition("/")[0]],
                                 capture_output=True, text=True, check=False)  # fmt: skip
        assert reached.returncode == 0, reached.stdout
    finally:
        lxc("stop", "-k")
    until(lambda: len(world.endpoints) == 1, "the container's hook has taken it out")
    peer.delete()
    assert world.leftovers == NOTHING
    forget(name)
    assert stat.S_IMODE(Path("/dev/null").stat().st_mode) == 0o666


def forget(name: str) -> None:
    """LXC keeps the cgroup to which it moves what ends. Its last process leaves that a moment later; another
    container of this machine may be in it, and then it stays."""
    for _ in range(20):
        for left in Path("/sys/fs/cgroup").glob("*/lxc.*"):
            if left.name in ("lxc.pivot", f"lxc.monitor.{name}", f"lxc.payload.{name}"):
                with suppress(OSError):
                    left.rmdir()
        if not list(Path("/sys/fs/cgroup").glob("*/lxc.*")):
            return
        time.sleep(0.1)
