"""A packet socket on one interface that the kernel hands requests of DHCP or for a router, and nothing else.

A filter in the kernel (classic BPF) picks them, so that a busy instance costs this process nothing; and each interface
has a small buffer of its own, so that one that floods fills its own only.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Sequence
from typing import Final, Literal

__all__ = ["FRAME_MAX", "PROGRAMS", "attach", "open_packet_socket"]

FRAME_MAX: Final = 2048
"""No request is longer; what is, is cut off and then malformed."""

_SO_ATTACH_FILTER: Final = 26
_PROTOCOLS: Final = {4: 0x0800, 6: 0x86DD}
_BUFFER: Final = 64 << 10

_LOAD_HALF, _LOAD_BYTE = 0x28, 0x30  # absolute
_LOAD_HALF_INDEXED: Final = 0x48
_LOAD_HEADER_LENGTH: Final = 0xB1  # x = 4 * (byte & 0xf)
_EQUAL, _ANY_BIT, _RETURN = 0x15, 0x45, 0x06

_Program = Sequence[tuple[int, int, int, int]]
"""Code, how many instructions to skip when true and when false, operand."""

_V4: Final[_Program] = (
    (_LOAD_BYTE, 0, 0, 14 + 9),
    (_EQUAL, 0, 6, 17),  # UDP
    (_LOAD_HALF, 0, 0, 14 + 6),
    (_ANY_BIT, 4, 0, 0x3FFF),  # a fragment
    (_LOAD_HEADER_LENGTH, 0, 0, 14),
    (_LOAD_HALF_INDEXED, 0, 0, 14 + 2),
    (_EQUAL, 0, 1, 67),
    (_RETURN, 0, 0, FRAME_MAX),
    (_RETURN, 0, 0, 0),
)
_V6: Final[_Program] = (
    (_LOAD_BYTE, 0, 0, 14 + 6),
    (_EQUAL, 2, 0, 17),  # UDP
    (_EQUAL, 3, 0, 58),  # ICMPv6
    (_RETURN, 0, 0, 0),
    (_LOAD_HALF, 0, 0, 14 + 40 + 2),
    (_EQUAL, 2, 3, 547),
    (_LOAD_BYTE, 0, 0, 14 + 40),
    (_EQUAL, 0, 1, 133),  # router solicitation
    (_RETURN, 0, 0, FRAME_MAX),
    (_RETURN, 0, 0, 0),
)
PROGRAMS: Final[dict[int, _Program]] = {4: _V4, 6: _V6}
"""The filter of each IP version."""


def open_packet_socket(interface: str, version: Literal[4, 6]) -> socket.socket:
    """Requests of one IP version that come out of the instance. OSError when there is no such interface."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    try:
        attach(sock, PROGRAMS[version])  # before it is bound: nothing comes in unfiltered
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        sock.bind((interface, _PROTOCOLS[version]))
    except OSError:
        sock.close()
        raise
    return sock


def attach(sock: socket.socket, program: _Program) -> None:
    """From now on the socket takes only what the filter lets through."""
    raw = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(raw, len(raw))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(buffer)))
