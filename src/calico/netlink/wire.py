"""The netlink byte format: messages, attributes, answers. Knows no family and does no I/O.

Sources: ``linux/netlink.h`` (``nlmsghdr``, ``nlattr``, ``nlmsgerr``). Integers are in host order unless a name says
``be``; everything is padded to 4 bytes. Bad bytes raise ``WireError`` and nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import msgspec

from calico.errors import InvalidInput

__all__ = [
    "NLMSG_DONE",
    "NLMSG_ERROR",
    "NLMSG_MIN_TYPE",
    "NLMSG_NOOP",
    "NLMSG_OVERRUN",
    "NLM_F_ACK",
    "NLM_F_ACK_TLVS",
    "NLM_F_APPEND",
    "NLM_F_CAPPED",
    "NLM_F_CREATE",
    "NLM_F_DUMP",
    "NLM_F_DUMP_FILTERED",
    "NLM_F_DUMP_INTR",
    "NLM_F_ECHO",
    "NLM_F_EXCL",
    "NLM_F_MULTI",
    "NLM_F_REPLACE",
    "NLM_F_REQUEST",
    "Message",
    "WireError",
    "attr",
    "attr_be16",
    "attr_be32",
    "attr_be64",
    "attr_str",
    "attr_u8",
    "attr_u16",
    "attr_u32",
    "attr_u64",
    "be16",
    "be32",
    "be64",
    "error_code",
    "error_seq",
    "error_text",
    "iter_attrs",
    "iter_messages",
    "message",
    "nested",
    "parse_attrs",
    "text",
    "u16",
    "u32",
    "u64",
]

NLM_F_REQUEST: Final = 0x01
NLM_F_MULTI: Final = 0x02
NLM_F_ACK: Final = 0x04
NLM_F_ECHO: Final = 0x08
NLM_F_DUMP_INTR: Final = 0x10
NLM_F_DUMP_FILTERED: Final = 0x20
NLM_F_DUMP: Final = 0x300
NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400
NLM_F_APPEND: Final = 0x800
NLM_F_CAPPED: Final = 0x100
NLM_F_ACK_TLVS: Final = 0x200

NLMSG_NOOP: Final = 1
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLMSG_OVERRUN: Final = 4
NLMSG_MIN_TYPE: Final = 16

_NLA_F_NESTED: Final = 0x8000
_NLA_TYPE_MASK: Final = 0x3FFF
_NLMSGERR_ATTR_MSG: Final = 1

_HEADER = struct.Struct("=IHHII")
_ATTR = struct.Struct("=HH")
_ATTR_U8 = struct.Struct("=HHBxxx")
_ATTR_U16 = struct.Struct("=HHHxx")
_ATTR_U32 = struct.Struct("=HHI")
_ATTR_U64 = struct.Struct("=HHQ")
_I32 = struct.Struct("=i")
_U16, _U32, _U64 = struct.Struct("=H"), struct.Struct("=I"), struct.Struct("=Q")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


class WireError(InvalidInput):
    """Bytes that are not netlink, or a value that netlink cannot carry."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """One netlink message without its header's length."""

    type: int
    flags: int
    seq: int
    pid: int
    payload: bytes


def attr(type: int, payload: bytes) -> bytes:  # noqa: A002 - the field's name in nlattr
    """One attribute, padded; the payload is at most 65531 bytes."""
    length = 4 + len(payload)
    if length > 0xFFFF:
        raise WireError(f"attribute {type} of {length} bytes exceeds 65535")
    if length & 3:
        return _ATTR.pack(length, type) + payload + _PADDING[length & 3]
    return _ATTR.pack(length, type) + payload


def nested(type: int, *attrs: bytes) -> bytes:  # noqa: A002
    """An attribute made of attributes."""
    payload = attrs[0] if len(attrs) == 1 else b"".join(attrs)
    return attr(type | _NLA_F_NESTED, payload)


def attr_u8(type: int, value: int) -> bytes:  # noqa: A002
    """A 8-bit value in host order."""
    return _pack(_ATTR_U8, 5, type, value)


def attr_u16(type: int, value: int) -> bytes:  # noqa: A002
    """A 16-bit value in host order."""
    return _pack(_ATTR_U16, 6, type, value)


def attr_u32(type: int, value: int) -> bytes:  # noqa: A002
    """A 32-bit value in host order."""
    return _pack(_ATTR_U32, 8, type, value)


def attr_u64(type: int, value: int) -> bytes:  # noqa: A002
    """A 64-bit value in host order."""
    return _pack(_ATTR_U64, 12, type, value)


def attr_be16(type: int, value: int) -> bytes:  # noqa: A002
    """A 16-bit value in network order."""
    return attr(type, _big(value, 2))


def attr_be32(type: int, value: int) -> bytes:  # noqa: A002
    """A 32-bit value in network order."""
    return _ATTR.pack(8, type) + _big(value, 4)


def attr_be64(type: int, value: int) -> bytes:  # noqa: A002
    """A 64-bit value in network order."""
    return _ATTR.pack(12, type) + _big(value, 8)


def attr_str(type: int, value: str) -> bytes:  # noqa: A002
    """A string attribute with its terminating NUL. WireError for a string with a NUL, or that is not Unicode."""
    try:
        data = value.encode()
    except UnicodeEncodeError as error:
        raise WireError(f"string {value!r} is not Unicode") from error
    if b"\0" in data:
        raise WireError(f"string {value!r} contains a NUL")
    return attr(type, data + b"\0")


def u16(payload: bytes) -> int:
    """A host-order 16-bit value; longer payloads are read from their start."""
    return _unpack(_U16, payload)


def u32(payload: bytes) -> int:
    """A host-order 32-bit value."""
    return _unpack(_U32, payload)


def u64(payload: bytes) -> int:
    """A host-order 64-bit value."""
    return _unpack(_U64, payload)


def be16(payload: bytes) -> int:
    """A network-order 16-bit value."""
    return _from_big(payload, 2)


def be32(payload: bytes) -> int:
    """A network-order 32-bit value."""
    return _from_big(payload, 4)


def be64(payload: bytes) -> int:
    """A network-order 64-bit value."""
    return _from_big(payload, 8)


def text(payload: bytes) -> str:
    """A string up to its NUL, if there is one."""
    try:
        return payload.split(b"\0", 1)[0].decode()
    except UnicodeDecodeError as error:
        raise WireError(f"string attribute is not UTF-8: {payload[:32]!r}") from error


def iter_attrs(buf: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, payload) of each attribute, in order; the nested and byte-order flags are masked off."""
    offset, end = 0, len(buf)
    while offset + 4 <= end:
        length, kind = _ATTR.unpack_from(buf, offset)
        if length < 4 or offset + length > end:
            raise WireError(f"attribute of {length} bytes at {offset} of {end}")
        yield kind & _NLA_TYPE_MASK, buf[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    if offset < end:
        raise WireError(f"{end - offset} bytes after the last attribute")


def parse_attrs(buf: bytes) -> dict[int, bytes]:
    """Attributes by type; of several of one type the last stays."""
    return dict(iter_attrs(buf))


def message(type: int, flags: int, seq: int, payload: bytes, pid: int = 0) -> bytes:  # noqa: A002
    """One message, padded so that another may follow."""
    length = 16 + len(payload)
    try:
        return _HEADER.pack(length, type, flags, seq, pid) + payload + _PADDING[length & 3]
    except struct.error as error:
        raise WireError(f"message type {type}: {error}") from error


def iter_messages(buf: bytes) -> Iterator[Message]:
    """The messages of one datagram."""
    offset, end = 0, len(buf)
    while offset + 16 <= end:
        length, kind, flags, seq, pid = _HEADER.unpack_from(buf, offset)
        if length < 16 or offset + length > end:
            raise WireError(f"message of {length} bytes at {offset} of {end}")
        yield Message(kind, flags, seq, pid, buf[offset + 16 : offset + length])
        offset += (length + 3) & ~3
    if offset < end:
        raise WireError(f"{end - offset} bytes after the last message")


def error_code(payload: bytes) -> int:
    """The errno (positive; 0 is an acknowledgement) in the payload of NLMSG_ERROR or NLMSG_DONE."""
    if len(payload) < 4:
        raise WireError(f"error answer of {len(payload)} bytes")
    return -int(_I32.unpack_from(payload)[0])


def error_seq(payload: bytes) -> int:
    """The sequence number of the request that an NLMSG_ERROR payload answers."""
    if len(payload) < 20:
        raise WireError(f"error answer of {len(payload)} bytes")
    return int(_HEADER.unpack_from(payload, 4)[3])


def error_text(answer: Message) -> str:
    """The kernel's own words (extended acknowledgement) in an NLMSG_ERROR, or ""."""
    if not answer.flags & NLM_F_ACK_TLVS:
        return ""
    if len(answer.payload) < 20:
        raise WireError(f"error answer of {len(answer.payload)} bytes")
    echoed = 16 if answer.flags & NLM_F_CAPPED else _HEADER.unpack_from(answer.payload, 4)[0]
    attrs = parse_attrs(answer.payload[4 + ((echoed + 3) & ~3) :])
    return text(attrs.get(_NLMSGERR_ATTR_MSG, b""))


def _pack(layout: struct.Struct, length: int, kind: int, value: int) -> bytes:
    try:
        return layout.pack(length, kind, value)
    except struct.error as error:
        raise WireError(f"attribute {kind}: {error}") from error


def _unpack(layout: struct.Struct, payload: bytes) -> int:
    if len(payload) < layout.size:
        raise WireError(f"{layout.size} byte value in {len(payload)} bytes")
    return int(layout.unpack_from(payload)[0])


def _big(value: int, length: int) -> bytes:
    try:
        return value.to_bytes(length, "big")
    except OverflowError as error:
        raise WireError(f"{value} does not fit {length} bytes") from error


def _from_big(payload: bytes, length: int) -> int:
    if len(payload) < length:
        raise WireError(f"{length} byte value in {len(payload)} bytes")
    return int.from_bytes(payload[:length], "big")
