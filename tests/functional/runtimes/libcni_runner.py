"""libcni as a runtime of its own: a few lines of Go, built once for each source and kept outside of the checkout.

Two of them: on Debian's library with Debian's Go (1.1.2: CNI up to 1.0.0), and on libcni 1.3 with GC and STATUS, which
needs a Go of 1.21 or newer and the Go module proxy. Tests use packages of Debian and PyPI only, unless
CALICO_TEST_GO_MODULES says that the proxy may be asked.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from functional.runtimes.site import Site

__all__ = ["LibCni", "runner"]

_SOURCE = Path(__file__).with_name("libcni")
_CACHE = Path("/var/cache/calico-tests")
_DEBIAN_GO = "/usr/lib/go-1.19/bin/go"
_NEWER_GO = (1, 21)


@cache
def runner(*, newer: bool = False) -> Path:
    """The program that calls the library; the newer one skips the test where it cannot be built, and says why."""
    sources = sorted(_SOURCE.iterdir())
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    folder = _CACHE / f"libcni-{'1.3' if newer else '1.1'}-{digest}"
    program = folder / "runner"
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(_SOURCE, folder / "source")
            _build_newer(folder) if newer else _build(folder)
    return program


def _build_newer(folder: Path) -> None:
    if not os.environ.get("CALICO_TEST_GO_MODULES"):
        pytest.skip("libcni 1.3 is a Go module: CALICO_TEST_GO_MODULES=1 asks the Go module proxy for it")
    go = shutil.which("go") or "/usr/local/go/bin/go"
    try:
        told = subprocess.run([go, "version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        told = ""
    version = tuple(map(int, found.groups())) if (found := re.search(r"go(\d+)\.(\d+)", told)) else ()
    if version < _NEWER_GO:
        pytest.skip(f"libcni 1.3 needs Go 1.21 or newer, here is: {told.strip() or 'none'}")
    environment = {**os.environ, "GOCACHE": str(folder / "gocache"), "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    environment |= {"GOFLAGS": "-buildvcs=false -mod=readonly", "GOMODCACHE": str(folder / "modules")}
    download = [go, "mod", "download", "-modcacherw"]
    fetched = subprocess.run(
        download, cwd=folder / "source", env=environment, capture_output=True, text=True, check=False
    )
    if fetched.returncode:
        pytest.skip(f"the Go module proxy does not serve libcni 1.3 here: {fetched.stderr.strip()[-300:]}")
    _compile(folder, [go, "build", "-tags", "libcni_1_3"], environment)


def _build(folder: Path) -> None:
    environment = {**os.environ, "GOCACHE": str(folder / "gocache"), "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    environment |= {"GOFLAGS": "-buildvcs=false", "GO111MODULE": "off", "GOPATH": "/usr/share/gocode"}
    _compile(folder, [_DEBIAN_GO, "build"], environment)


def _compile(folder: Path, command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        [*command, "-o", str(folder / "built"), "."],
        cwd=folder / "source", env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"building on libcni: {done.stderr}"
    for name in ("gocache", "source", "modules"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "built").rename(folder / "runner")


class LibCni:
    """A runtime that attaches namespaces as they are; every answer is the plugin's."""

    def __init__(self, site: Site, *, newer: bool = False, cache: str = "libcni") -> None:
        self.site, self.program = site, runner(newer=newer)
        self._attached: dict[str, dict[str, Any]] = {}
        self.cache = site.directory / cache

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

    def collect(self, *valid: str, check: bool = True) -> Any:
        """GC: the namespaces that stay, each with its eth0."""
        return self.call("gc", args=json.dumps([{"containerID": one, "ifname": "eth0"} for one in valid]), check=check)

    def remove_all(self) -> None:
        """What a test did not get to."""
        for netns, options in list(self._attached.items()):
            self.delete(netns, **options)
