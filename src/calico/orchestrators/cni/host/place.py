"""Which network namespace a call is about, as this process reaches it."""

from __future__ import annotations

import os
from typing import Final

from calico.orchestrators.cni.commands.agent import Call
from calico.orchestrators.cni.protocol.request import Request

__all__ = ["OWN_NETNS", "place_at"]

OWN_NETNS: Final = "/proc/self/ns/net"


def place_at(request: Request, path: str) -> Call:
    """The call with the namespace at ``path``: none when there is no network namespace, or when it is the host's own,
    where nothing must be changed that is not ours."""
    own = os.stat(OWN_NETNS)
    try:
        found = os.stat(path)
    except OSError:
        return Call(request=request)
    if found.st_dev != own.st_dev:
        return Call(request=request)
    if found.st_ino == own.st_ino:
        return Call(request=request, netns_is_host=True)
    return Call(request=request, netns=path)
