"""``calico node run`` registers its host and keeps Felix running until it is told to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable

from felix_world import RESOURCES, World, until


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_host_is_registered_and_its_felix_kept_running(new_world: Callable[..., World]) -> None:
    world = new_world("a")
    world.start_etcd()
    world.cluster()
    options = ["--name", "h1", "--ip-autodetection-method", "interface=ext0", "--backend", "none"]
    command = [*world.enter("h"), sys.executable, "-m", "calico", "node", "run", *options]
    command += ["--run-dir", str(world.run_dir)]
    with (world.directory / "run.out").open("w") as output:
        run = subprocess.Popen(command, stdout=output, stderr=output)
    felix = 0
    try:
        until(lambda: world.status["in_sync"], "Felix programmed the host", deadline_s=60)
        node = json.loads(world.list(f"{RESOURCES}/nodes/")[f"{RESOURCES}/nodes/h1"])
        assert node["spec"]["bgp"] == {"ipv4Address": "192.0.2.1/24"}
        first = int(world.status["pid"])
        os.kill(first, signal.SIGKILL)
        until(
            lambda: world.status["in_sync"] and world.status["pid"] != first, "Felix was started again", deadline_s=60
        )
        felix = int(world.status["pid"])
        run.terminate()
        assert run.wait(timeout=60) == 0
        until(lambda: not alive(felix), "Felix ended, too")
    finally:
        run.kill()
        run.wait()
        if felix and alive(felix):
            os.kill(felix, signal.SIGKILL)
