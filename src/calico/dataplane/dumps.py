"""Complete dumps from the kernel, in spite of changes while it dumps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from calico.errors import ResyncRequired
from calico.netlink.socket import NetlinkSocket
from calico.netlink.wire import Message

__all__ = ["dump_all"]

_ATTEMPTS: Final = 5


def dump_all(sock: NetlinkSocket, request: Callable[[int], bytes]) -> list[Message]:
    """The answers to a dump request (given its sequence number), asked again while the kernel says it was disturbed.

    ResyncRequired when it was disturbed every time.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return list(sock.dump(request(sock.next_seq())))
        except ResyncRequired:
            continue
    return list(sock.dump(request(sock.next_seq())))
