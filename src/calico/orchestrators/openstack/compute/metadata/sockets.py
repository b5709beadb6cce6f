"""Listening for instances, and what the kernel tells of a connection: the interface it came in by, and its source."""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import Final

from calico.lib import packed
from calico.orchestrators.openstack.compute.linklocal import METADATA_V6

__all__ = ["came_in_by", "listen_on_link", "listen_v4"]

_IP_PKTINFO, _IP_PKTOPTIONS = 8, 9
_HEADER = struct.Struct("@nii")  # length, level, type of a control message
_BACKLOG: Final = 128


def listen_v4(address: str, port: int) -> socket.socket:
    """Where Felix sends what was meant for 169.254.169.254. OSError when somebody else is there."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)  # connections inherit it
        sock.bind((address, port))
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def listen_on_link(index: int, port: int) -> socket.socket:
    """fe80::a9fe:a9fe on one interface. OSError when it has no such address, or somebody else is there."""
    sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((packed.addr_str(METADATA_V6), port, 0, index))
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def came_in_by(connection: socket.socket) -> tuple[int, str]:
    """Index of the interface (0: the kernel does not tell) and source address of an accepted connection.

    The kernel keeps the interface of the packet that completed the handshake (``tcp_v4_syn_recv_sock``), before any
    translation of addresses. A connection to a link-local address is bound to its link.
    """
    source = connection.getpeername()
    if connection.family == socket.AF_INET6:
        return connection.getsockname()[3], source[0]
    return _index_of(connection.getsockopt(socket.IPPROTO_IP, _IP_PKTOPTIONS, 256)), str(
        ipaddress.ip_address(source[0])
    )


def _index_of(control: bytes) -> int:
    """The interface in control messages (cmsg(3))."""
    at = 0
    while at + _HEADER.size <= len(control):
        length, level, kind = _HEADER.unpack_from(control, at)
        if length < _HEADER.size:
            return 0
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO) and at + _HEADER.size + 4 <= len(control):
            return int(struct.unpack_from("@i", control, at + _HEADER.size)[0])
        at += (length + 7) & ~7
    return 0
