"""DHCPv4 messages as bytes (RFC 2131 section 2, RFC 2132). Knows no port and no policy.

Options may be spread over several pieces (RFC 3396) and over the fields for names (option overload).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

__all__ = [
    "ACK",
    "DECLINE",
    "DISCOVER",
    "INFORM",
    "MIN_SIZE",
    "NAK",
    "OFFER",
    "RELEASE",
    "REPLY",
    "REQUEST",
    "Message4",
    "encode4",
    "parse4",
]

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)
REPLY: Final = 2
MIN_SIZE: Final = 548
"""What every client must be able to take: 576 bytes less the headers of IP and UDP (RFC 2131 section 2)."""

_BOOTREQUEST: Final = 1
_ETHERNET: Final = 1
_MAGIC: Final = b"\x63\x82\x53\x63"
_PAD, _END, _OVERLOAD = 0, 255, 52
_FIXED = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s4s")
_BOOTP_SIZE: Final = 300
_BROADCAST: Final = 0x8000
_PIECE: Final = 255


class Message4(msgspec.Struct, frozen=True, kw_only=True):
    """A message; of requests only what is looked at. Addresses are 4 bytes, ``options`` whole values by code."""

    xid: int
    chaddr: bytes
    secs: int = 0
    broadcast: bool = False
    ciaddr: bytes = b"\0\0\0\0"
    yiaddr: bytes = b"\0\0\0\0"
    siaddr: bytes = b"\0\0\0\0"
    giaddr: bytes = b"\0\0\0\0"
    options: Mapping[int, bytes] = {}


def parse4(data: bytes) -> Message4 | None:
    """A client's request; None when it is none: cut off, not of Ethernet, plain BOOTP, or its options run over."""
    if len(data) < _FIXED.size:
        return None
    op, htype, hlen, _, xid, secs, flags, ciaddr, yiaddr, siaddr, giaddr, chaddr, sname, file, magic = (
        _FIXED.unpack_from(data)
    )
    if (op, htype, hlen, magic) != (_BOOTREQUEST, _ETHERNET, 6, _MAGIC):
        return None
    options: dict[int, bytes] = {}
    if not _read_options(data[_FIXED.size :], options):
        return None
    overload = options.pop(_OVERLOAD, b"\0")[:1] or b"\0"
    for bit, field in ((1, file), (2, sname)):
        if overload[0] & bit and not _read_options(field, options):
            return None
    return Message4(
        xid=xid,
        chaddr=chaddr[:6],
        secs=secs,
        broadcast=bool(flags & _BROADCAST),
        ciaddr=ciaddr,
        yiaddr=yiaddr,
        siaddr=siaddr,
        giaddr=giaddr,
        options=options,
    )


def _read_options(data: bytes, into: dict[int, bytes]) -> bool:
    """Whether all could be read; data may end without an end option."""
    at, size = 0, len(data)
    while at < size:
        code = data[at]
        if code == _END:
            return True
        if code == _PAD:
            at += 1
            continue
        if at + 2 > size or at + 2 + data[at + 1] > size:
            return False
        length = data[at + 1]
        value = data[at + 2 : at + 2 + length]
        into[code] = into[code] + value if code in into else value
        at += 2 + length
    return True


def encode4(message: Message4, options: Iterable[tuple[int, bytes]], room: int = MIN_SIZE) -> tuple[bytes, list[int]]:
    """An answer of at most ``room`` bytes, and the codes of the options that found no place.

    Options are placed in their order; those for which there is no room any more go to the fields for names.
    """
    rooms = [max(room, MIN_SIZE) - _FIXED.size - 1 - 3, 128 - 1, 64 - 1]  # an end option each, and the overload option
    parts: list[list[bytes]] = [[], [], []]
    left_out: list[int] = []
    for code, value in options:
        raw = _pieces(code, value)
        for number, free in enumerate(rooms):
            if len(raw) <= free:
                rooms[number] -= len(raw)
                parts[number].append(raw)
                break
        else:
            left_out.append(code)
    main, file, sname = (b"".join(part) for part in parts)
    overload = (1 if file else 0) | (2 if sname else 0)
    if overload:
        main += bytes((_OVERLOAD, 1, overload))
    flags = _BROADCAST if message.broadcast else 0
    fixed = _FIXED.pack(
        REPLY, _ETHERNET, 6, 0, message.xid, 0, flags, message.ciaddr, message.yiaddr, message.siaddr, message.giaddr,
        message.chaddr, sname + b"\xff" if sname else b"", file + b"\xff" if file else b"", _MAGIC,
    )  # fmt: skip
    return (fixed + main + b"\xff").ljust(_BOOTP_SIZE, b"\0"), left_out


def _pieces(code: int, value: bytes) -> bytes:
    """An option, in pieces when it is longer than one can be; one without a value has length 0."""
    if len(value) <= _PIECE:
        return bytes((code, len(value))) + value
    cut = [value[start : start + _PIECE] for start in range(0, len(value), _PIECE)]
    return b"".join(bytes((code, len(piece))) + piece for piece in cut)
