"""The manifest on a whole node: our image in containerd, the DaemonSet's pods by a kubelet, a policy with packets.

Run as a program by ``make kubernetes-install``. It starts itself again in a mount and a process namespace:
/etc, /var, /opt and /run are copies there, so that the machine's stay as they are, and what it started ends with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cluster.machine import Machine
from functional.runtimes.leftovers import end_cgroup
from functional.runtimes.privileges import what_is_missing
from kubernetes_install.installed import NETNS, check_installation
from stack.guard import Guard

_INSIDE = "--inside"
_COPIED = ("/etc", "/var", "/opt")


def main() -> int:
    if sys.argv[1] == _INSIDE:
        _separate(Path(sys.argv[3]))
        check_installation(Path(sys.argv[2]), Path(sys.argv[3]))
        return 0
    with tempfile.TemporaryDirectory(prefix="kinstall", ignore_cleanup_errors=True) as name:
        folder = Path(name, "inside")
        folder.mkdir()
        if missing := what_is_missing(folder):
            print(f"NOT TESTED: {missing}")
            return 1
        return _run(Path(sys.argv[1]).resolve(), Path(name), folder)


def _run(image: Path, watched: Path, folder: Path) -> int:
    """The exit code. When this program is killed, the guard removes ``watched``; ``folder`` is a part of it."""
    (watched / "cgroups").write_text(NETNS)
    machine, guard = Machine(watched), Guard(watched)
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
    command = [*apart, sys.executable, __file__, _INSIDE, str(image), str(folder)]
    process = subprocess.Popen(command, start_new_session=True)
    (watched / "pids").write_text(str(process.pid))
    try:
        return process.wait()
    finally:
        process.kill()
        process.wait()
        end_cgroup(f"/{NETNS}")
        machine.restore()
        guard.dismiss()


def _separate(folder: Path) -> None:
    """What is written from here on is seen by nobody else; mounts are shared with containers, as on any node."""
    apart = folder / "apart"
    apart.mkdir()
    _mount("-t", "tmpfs", "apart", str(apart))
    for path in _COPIED:
        upper, work = apart / f"upper{path}", apart / f"work{path}"
        upper.mkdir(parents=True)
        work.mkdir(parents=True)
        _mount("-t", "overlay", "apart", "-o", f"lowerdir={path},upperdir={upper},workdir={work}", path)
    _mount("-t", "tmpfs", "run", "/run")
    _mount("--make-rshared", "/")
    Path("/run/netns").mkdir()
    os.environ.pop("KUBECONFIG", None)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    sys.exit(main())
