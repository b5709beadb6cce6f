"""The nflog codec over nfnetlink: packets that a rule logged to a group, and requests that make a socket its reader.

Source: ``linux/netfilter/nfnetlink_log.h``.
"""

from __future__ import annotations

from typing import Final

import msgspec

from calico.netlink import wire
from calico.netlink.wire import NLM_F_REQUEST, WireError, attr, attr_be16, attr_be32

__all__ = ["MESSAGE_PACKET", "LoggedPacket", "bind_group", "decode_packet", "set_up_group"]

_SUBSYSTEM: Final = 4 << 8
MESSAGE_PACKET: Final = _SUBSYSTEM
"""Type of the messages that hold a packet."""

_CONFIG: Final = _SUBSYSTEM | 1
_CFG_CMD: Final = 1
_CFG_MODE: Final = 2
_CFG_TIMEOUT: Final = 4
_CFG_QTHRESH: Final = 5
_CFG_FLAGS: Final = 6
_CMD_BIND: Final = 1
_COPY_PACKET: Final = 2
_FLAG_SEQ: Final = 1

_PAYLOAD: Final = 9
_PREFIX: Final = 10
_SEQ: Final = 12


class LoggedPacket(msgspec.Struct, frozen=True, gc=False):
    """What a rule logged: its prefix, the beginning of the packet from the network header on, and its number in the
    group, by which what the kernel had to drop is noticed (None: not numbered)."""

    prefix: str
    data: bytes
    seq: int | None


def bind_group(seq: int, group: int) -> bytes:
    """Make the socket the reader of a group; EBUSY when it has another."""
    return wire.message(_CONFIG, NLM_F_REQUEST, seq, _head(group) + attr(_CFG_CMD, bytes((_CMD_BIND,))))


def set_up_group(seq: int, group: int, *, copied: int, batch: int, delay_cs: int) -> bytes:
    """``copied``: bytes of each packet; messages come when ``batch`` are there, or after ``delay_cs`` hundredths of a
    second. Packets are numbered."""
    mode = copied.to_bytes(4, "big") + bytes((_COPY_PACKET, 0))
    settings = (
        attr(_CFG_MODE, mode),
        attr_be32(_CFG_QTHRESH, batch),
        attr_be32(_CFG_TIMEOUT, delay_cs),
        attr_be16(_CFG_FLAGS, _FLAG_SEQ),
    )
    return wire.message(_CONFIG, NLM_F_REQUEST, seq, _head(group) + b"".join(settings))


def decode_packet(payload: bytes) -> LoggedPacket:
    """A packet from the payload of a message of type ``MESSAGE_PACKET``."""
    if len(payload) < 4:
        raise WireError(f"nflog message of {len(payload)} bytes")
    attrs = wire.parse_attrs(payload[4:])
    seq = wire.be32(attrs[_SEQ]) if _SEQ in attrs else None
    return LoggedPacket(wire.text(attrs.get(_PREFIX, b"")), attrs.get(_PAYLOAD, b""), seq)


def _head(group: int) -> bytes:
    """``nfgenmsg``: no family, version 0, the group as resource id."""
    if not 0 <= group < 1 << 16:
        raise WireError(f"{group} is no nflog group")
    return b"\0\0" + group.to_bytes(2, "big")
