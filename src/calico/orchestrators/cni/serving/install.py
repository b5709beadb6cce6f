"""Putting the plugin where runtimes look for it: the shim as ``calico`` and ``calico-ipam``, and a network."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from calico.errors import AlreadyExists, InvalidInput
from calico.orchestrators.cni.protocol.request import VERSIONS
from calico.orchestrators.cni.serving.daemon import DEFAULT_SOCKET

__all__ = ["PLUGINS", "conflist", "install_plugins", "read_network", "shim_text", "standalone_text", "write_conflist"]

PLUGINS: Final = ("calico", "calico-ipam")
_SHIM: Final = Path(__file__).parents[1] / "shim" / "calico.py"
_SYSTEM_PYTHON: Final = "/usr/bin/python3"


def shim_text(socket: str = DEFAULT_SOCKET) -> str:
    """The shim with the path of its daemon's socket in it."""
    if not socket.startswith("/") or not socket.isprintable() or any(c in socket for c in "\"\\'"):
        raise InvalidInput(f"{socket!r} is not an absolute path without quotes", field="--socket")
    return _SHIM.read_text().replace(f'SOCKET = "{DEFAULT_SOCKET}"', f'SOCKET = "{socket}"')


def standalone_text(options: Sequence[str] = ()) -> str:
    """A plugin that needs no daemon: this installation's Python, for one call."""
    words = " ".join(_quoted(word) for word in (sys.executable, "-m", "calico", "cni", "call", *options))
    return f'#!/bin/sh\nexec {words} --plugin "${{0##*/}}"\n'


def install_plugins(directory: Path, text: str) -> list[Path]:
    """Write the executables; each is replaced at once, so that no runtime ever starts half of one."""
    if text.startswith(f"#!{_SYSTEM_PYTHON} ") and not Path(_SYSTEM_PYTHON).exists():
        raise InvalidInput(f"the shim needs {_SYSTEM_PYTHON} (Debian's package python3)", subject=str(directory))
    directory.mkdir(parents=True, exist_ok=True)
    made = []
    for name in PLUGINS:
        path = directory / name
        partial = directory / f".{name}.part"
        partial.write_text(text)
        partial.chmod(0o755)
        os.replace(partial, path)
        made.append(path)
    return made


def conflist(name: str, version: str, plugin: dict[str, Any], chained: Sequence[str] = ()) -> dict[str, Any]:
    """A network of our plugin, with others of Debian's chained behind it."""
    if version not in VERSIONS:
        raise InvalidInput(f"{version!r} is not one of {', '.join(VERSIONS)}", field="--cni-version")
    capabilities = {"portmap": "portMappings", "bandwidth": "bandwidth"}
    others: list[dict[str, Any]] = []
    for kind in chained:
        other: dict[str, Any] = {"type": kind}
        if kind in capabilities:
            other["capabilities"] = {capabilities[kind]: True}
        others.append(other)
    own = {"type": "calico", "ipam": {"type": "calico-ipam"}, "capabilities": {"ips": True, "mac": True}, **plugin}
    return {"cniVersion": version, "name": name, "plugins": [own, *others]}


def read_network(path: Path) -> dict[str, Any]:
    """A network's file that somebody made; InvalidInput when it is none of ours."""
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InvalidInput(f"cannot be read: {error}", subject=str(path)) from error
    plugins = document.get("plugins") if isinstance(document, dict) else None
    kinds = [plugin.get("type") for plugin in plugins if isinstance(plugin, dict)] if isinstance(plugins, list) else []
    if "calico" not in kinds:
        raise InvalidInput("is no network of the plugin calico", subject=str(path), field="plugins")
    found: dict[str, Any] = document
    return found


def write_conflist(path: Path, document: dict[str, Any], *, replace: bool) -> bool:
    """Whether anything was written: the same again is nothing. AlreadyExists when another is there."""
    text = json.dumps(document, indent=2) + "\n"
    if path.exists():
        if path.read_text() == text:
            return False
        if not replace:
            raise AlreadyExists(f"{path} exists and differs; --force replaces it")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(text)
    os.replace(partial, path)
    return True


def _quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)
