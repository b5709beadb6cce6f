"""Calling another plugin, as the specification has it: found in CNI_PATH, same environment, same configuration."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from calico.orchestrators.cni.protocol.fault import INVALID_CONFIG, IO_FAILURE, TRY_AGAIN, UNDECODABLE, PluginError
from calico.orchestrators.cni.protocol.request import Command, Request

__all__ = ["call_plugin", "find_plugin"]

_TIMEOUT_S: Final = 60.0


def find_plugin(kind: str, path: tuple[str, ...]) -> str:
    """The executable of a plugin; PluginError when it is in no folder of CNI_PATH or its name leads out of them."""
    if not kind or "/" in kind or kind in (".", ".."):
        raise PluginError(INVALID_CONFIG, f"ipam.type: {kind!r} is not the name of a plugin")
    for folder in path:
        candidate = Path(folder, kind)
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return str(candidate)
    raise PluginError(INVALID_CONFIG, f"ipam.type: plugin {kind!r} is in no folder of CNI_PATH ({':'.join(path)})")


async def call_plugin(kind: str, request: Request, command: Command | None = None) -> Mapping[str, Any]:
    """What the plugin answers (empty when nothing); its error object is raised as it is."""
    executable = find_plugin(kind, request.path)
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "CNI_COMMAND": command or request.command,
        "CNI_CONTAINERID": request.container_id,
        "CNI_NETNS": request.netns,
        "CNI_IFNAME": request.interface,
        "CNI_ARGS": ";".join(f"{key}={value}" for key, value in request.arguments.items()),
        "CNI_PATH": ":".join(request.path),
    }
    process = await asyncio.create_subprocess_exec(
        executable,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={key: value for key, value in environment.items() if value},
    )
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            out, err = await process.communicate(request.raw)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise PluginError(TRY_AGAIN, f"plugin {kind} did not answer within {_TIMEOUT_S:.0f} s") from None
    if process.returncode:
        raise _failure(kind, out, err)
    try:
        return dict(msgspec.json.decode(out)) if out.strip() else {}
    except (msgspec.DecodeError, TypeError, ValueError):
        raise PluginError(UNDECODABLE, f"plugin {kind} answered what is not JSON") from None


def _failure(kind: str, out: bytes, err: bytes) -> PluginError:
    try:
        found = msgspec.json.decode(out)
        return PluginError(int(found["code"]), f"{kind}: {found.get('msg', '')}", str(found.get("details", "")))
    except (msgspec.DecodeError, LookupError, TypeError, ValueError, AttributeError):
        said = (err or out).decode(errors="replace").strip()[-500:]
        return PluginError(IO_FAILURE, f"plugin {kind} failed and does not say why", said)
