"""What became of a request, for whoever sends the answer and counts."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

__all__ = ["Outcome", "Protocol"]

Protocol: TypeAlias = Literal["dhcp4", "dhcp6", "ra", "none"]


class Outcome(msgspec.Struct, frozen=True):
    """``asked``: the kind of message, or why it was no request of this port's; ``answer``: the kind of the answer; it
    is empty when there is none, as is ``frame``; ``detail``: what somebody who looks for a fault wants to know."""

    protocol: Protocol
    asked: str
    answer: str = ""
    frame: bytes = b""
    detail: str = ""
