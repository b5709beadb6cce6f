"""A folder as an image that containerd, podman and docker load: the layout of ``docker save``, with one layer.

Usage: archive.py ROOT NAME:TAG ARCHITECTURE FILE
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
import tempfile
from pathlib import Path

_CONFIG = {
    "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONDONTWRITEBYTECODE=1"],
    "Entrypoint": ["/usr/bin/calico"],
    "Cmd": ["--help"],
    "WorkingDir": "/",
}
_SINCE = "1970-01-01T00:00:00Z"  # the same folder makes the same image


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uname = entry.gname = ""
    entry.mtime = 0
    return entry


def archive(root: Path, name: str, architecture: str, target: Path) -> None:
    """Write ``target``."""
    with tempfile.NamedTemporaryFile(dir=target.parent) as layer:
        with tarfile.open(fileobj=layer, mode="w") as content:
            for path in sorted(root.iterdir()):
                content.add(path, arcname=path.name, filter=_plain)
        layer.seek(0)
        digest = hashlib.file_digest(layer, "sha256").hexdigest()
        config = {
            "architecture": architecture,
            "os": "linux",
            "created": _SINCE,
            "config": _CONFIG,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            "history": [{"created": _SINCE, "comment": "Debian and calico-network"}],
        }
        text = json.dumps(config).encode()
        config_name = f"{hashlib.sha256(text).hexdigest()}.json"
        manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
        with tarfile.open(target, "w") as image:
            for member, data in (("manifest.json", manifest), (config_name, text)):
                entry = tarfile.TarInfo(member)
                entry.size = len(data)
                image.addfile(entry, io.BytesIO(data))
            image.add(layer.name, arcname="layer.tar", filter=_plain)


if __name__ == "__main__":
    archive(Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]))
