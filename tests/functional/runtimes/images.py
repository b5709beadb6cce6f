"""Images without a registry: Debian's static busybox in a docker-archive, which every runtime here can load."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

__all__ = ["BUSYBOX", "PAUSE", "docker_archive"]

BUSYBOX = "localhost/busybox:1"
PAUSE = "localhost/pause:1"
_SLEEP = ["/bin/sleep", "1000000"]


def _layer() -> bytes:
    """/bin/busybox under all its names, and the folders that programs expect."""
    busybox = Path("/bin/busybox").read_bytes()
    names = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for folder in ("bin", "dev", "etc", "proc", "sys", "tmp", "www"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for path, content in (("bin/busybox", busybox), ("www/index.html", b"hello\n"), ("etc/passwd", b"")):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
        for name in names:
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            if name != "busybox":
                tar.addfile(entry)
    return out.getvalue()


def _layer_of(program: Path) -> bytes:
    """One program in the root folder."""
    content, out = program.read_bytes(), io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo(program.name)
        entry.size, entry.mode = len(content), 0o755
        tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def docker_archive(path: Path, programs: Mapping[str, Path] = {}) -> None:
    """One archive with the image of the tests and, under a second tag, the one that holds a sandbox.

    ``programs`` by tag: images that have busybox as well, and start this static program.
    """
    base = _layer()
    images: dict[tuple[str, ...], tuple[list[bytes], dict[str, object]]] = {(BUSYBOX, PAUSE): ([base], {"Cmd": _SLEEP})}
    for tag, program in programs.items():
        images[(tag,)] = ([base, _layer_of(program)], {"Entrypoint": [f"/{program.name}"]})
    manifest, members = [], {}
    for tags, (layers, what) in images.items():
        names = [hashlib.sha256(layer).hexdigest() for layer in layers]
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], **what},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{name}" for name in names]},
        }
        text = json.dumps(config).encode()
        name = f"{hashlib.sha256(text).hexdigest()}.json"
        manifest.append({"Config": name, "RepoTags": list(tags), "Layers": [f"{one}/layer.tar" for one in names]})
        members |= {name: text, **{f"{one}/layer.tar": layer for one, layer in zip(names, layers, strict=True)}}
    with tarfile.open(path, "w") as tar:
        for member, content in {"manifest.json": json.dumps(manifest).encode(), **members}.items():
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
