"""DHCPv6 messages as bytes (RFC 8415 sections 8 and 21). Knows no policy."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

import msgspec

__all__ = ["IA_ADDRESSES", "Message6", "encode6", "encode_options", "ia_addresses", "parse6", "parse_options"]

_HEADER_SIZE: Final = 4
_OPTION = struct.Struct("!HH")
_MANY: Final = 256
"""More options than this in one message nobody sends in earnest."""

IA_NA, IA_TA, IA_ADDRESS, IA_PD = 3, 4, 5, 25
IA_ADDRESSES: Final = {IA_NA: 12, IA_TA: 4}
"""Options that hold addresses, and how many bytes come before the options within."""
_IA_ADDRESS_SIZE: Final = 24


class Message6(msgspec.Struct, frozen=True, kw_only=True):
    """``kind`` is the message type, ``transaction`` 3 bytes; options in their order, which may repeat."""

    kind: int
    transaction: bytes
    options: tuple[tuple[int, bytes], ...] = ()

    def first(self, code: int) -> bytes | None:
        """The first option of a code."""
        return next((value for found, value in self.options if found == code), None)

    def all(self, code: int) -> list[bytes]:
        """All options of a code."""
        return [value for found, value in self.options if found == code]


def parse6(data: bytes) -> Message6 | None:
    """A client's or a relay's message; None when it is cut off. The options of a relayed message are not read."""
    if len(data) < _HEADER_SIZE:
        return None
    if data[0] in (12, 13):
        return Message6(kind=data[0], transaction=b"\0\0\0")
    options = parse_options(data[_HEADER_SIZE:])
    return None if options is None else Message6(kind=data[0], transaction=data[1:4], options=options)


def parse_options(data: bytes) -> tuple[tuple[int, bytes], ...] | None:
    """Options in their order; None when one is cut off or there are too many."""
    found: list[tuple[int, bytes]] = []
    at, size = 0, len(data)
    while at < size:
        if at + 4 > size or len(found) == _MANY:
            return None
        code, length = _OPTION.unpack_from(data, at)
        at += 4
        if at + length > size:
            return None
        found.append((code, data[at : at + length]))
        at += length
    return tuple(found)


def ia_addresses(code: int, value: bytes) -> list[bytes] | None:
    """The addresses within an IA option of ``IA_ADDRESSES``; None when it is cut off."""
    start = IA_ADDRESSES[code]
    options = parse_options(value[start:]) if len(value) >= start else None
    if options is None:
        return None
    found = [inner for kind, inner in options if kind == IA_ADDRESS]
    if any(len(inner) < _IA_ADDRESS_SIZE for inner in found):
        return None
    return [inner[:16] for inner in found]


def encode6(kind: int, transaction: bytes, options: Iterable[tuple[int, bytes]]) -> bytes:
    """A message of a server."""
    return bytes((kind,)) + transaction + encode_options(options)


def encode_options(options: Iterable[tuple[int, bytes]]) -> bytes:
    """Options in their order."""
    return b"".join(_OPTION.pack(code, len(value)) + value for code, value in options)
