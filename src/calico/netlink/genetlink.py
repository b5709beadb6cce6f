"""Generic netlink: families of messages that the kernel numbers when they are registered. No I/O.

Sources: ``linux/genetlink.h`` (``genlmsghdr``, the controller with its fixed number). The messages of a family that is
not there cannot be numbered: the controller answers ENOENT.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from calico.netlink import wire
from calico.netlink.wire import Message, WireError

__all__ = ["NETLINK_GENERIC", "ask_family", "body", "command", "decode_family"]

NETLINK_GENERIC: Final = 16

_CONTROLLER, _GET_FAMILY = 0x10, 3
_FAMILY_ID, _FAMILY_NAME = 1, 2
_HEADER = struct.Struct("=BBH")  # command, version, reserved


def command(family: int, number: int, seq: int, attrs: bytes, *, dump: bool = False, version: int = 1) -> bytes:
    """One command of a family, by the number that the kernel gave it."""
    flags = wire.NLM_F_REQUEST | (wire.NLM_F_DUMP if dump else 0)
    return wire.message(family, flags, seq, _HEADER.pack(number, version, 0) + attrs)


def ask_family(seq: int, name: str) -> bytes:
    """Ask the number of a family."""
    return command(_CONTROLLER, _GET_FAMILY, seq, wire.attr_str(_FAMILY_NAME, name))


def decode_family(answers: Iterable[Message]) -> int:
    """The number, from the controller's answers."""
    for answer in answers:
        found = wire.parse_attrs(body(answer.payload)).get(_FAMILY_ID)
        if found is not None:
            return wire.u16(found)
    raise WireError("an answer of the controller without a family")


def body(payload: bytes) -> bytes:
    """The attributes of a message."""
    if len(payload) < _HEADER.size:
        raise WireError(f"generic netlink message of {len(payload)} bytes")
    return payload[_HEADER.size :]
