"""libcni as a runtime of its own: a few lines of Go on Debian's library (1.1.2: CNI up to 1.0.0) and with Debian's Go,
built once for each source and kept outside of the checkout.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from functional.runtimes.site import Site

__all__ = ["LibCni", "runner"]

_SOURCE = Path(__file__).with_name("libcni")
_CACHE = Path("/var/cache/calico-tests")
_DEBIAN_GO = "/usr/lib/go-1.19/bin/go"


@cache
def runner() -> Path:
    """The program that calls the library."""
    sources = sorted(_SOURCE.iterdir())
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    folder = _CACHE / f"libcni-{digest}"
    program = folder / "runner"
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(_SOURCE, folder / "source")
            _build(folder)
    return program


def _build(folder: Path) -> None:
    environment = {**os.environ, "GOCACHE": str(folder / "gocache"), "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    environment |= {"GOFLAGS": "-buildvcs=false", "GO111MODULE": "off", "GOPATH": "/usr/share/gocode"}
    done = subprocess.run(
        [_DEBIAN_GO, "build", "-o", str(folder / "built"), "."],
        cwd=folder / "source", env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"building on libcni: {done.stderr}"
    for name in ("gocache", "source"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "built").rename(folder / "runner")


class LibCni:
    """A runtime that attaches namespaces as they are; every answer is the plugin's."""

    def __init__(self, site: Site) -> None:
        self.site, self.program = site, runner()
        self._attached: dict[str, dict[str, Any]] = {}
        self.cache = site.directory / "libcni"

    def call(self, command: str, netns: str = "", *, container: str = "", ifname: str = "eth0", args: str = "",
             capabilities: dict[str, Any] | None = None, check: bool = True) -> Any:  # fmt: skip
        """What one command prints: the result of ADD, nothing, or the plugin's error."""
        path = f"/run/netns/{netns}" if netns else ""
        words = [str(self.program), command, str(self.site.conflist), str(self.site.bin_dir), str(self.cache)]
        words += [container or netns, path, ifname, args]
        words += [json.dumps(capabilities)] if capabilities is not None else []
        done = subprocess.run([*self.site.enter, *words], capture_output=True, text=True, check=False)
        if check:
            assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        else:
            assert done.returncode != 0, f"{command} succeeded: {done.stdout}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    def add(self, netns: str, **options: Any) -> Any:
        self._attached[netns] = options
        return self.call("add", netns, **options)

    def delete(self, netns: str, **options: Any) -> Any:
        self._attached.pop(netns, None)
        return self.call("del", netns, **options)

    def remove_all(self) -> None:
        """What a test did not get to."""
        for netns, options in list(self._attached.items()):
            self.delete(netns, **options)
