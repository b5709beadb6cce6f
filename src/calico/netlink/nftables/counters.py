"""What counters have counted: those in rules (``expr.Counter``) and the table's named ones (``expr.CountIn``). It is
no part of the value of either."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from calico.netlink import wire
from calico.netlink.nftables import uapi
from calico.netlink.wire import WireError

__all__ = ["Counted", "decode_counter", "packets_counted"]


class Counted(msgspec.Struct, frozen=True, gc=False):
    """What went by."""

    packets: int = 0
    bytes: int = 0


def packets_counted(exprs: bytes) -> int:
    """Packets that the first counter in the payload of NFTA_RULE_EXPRESSIONS has seen; WireError without a counter."""
    for _, element in wire.iter_attrs(exprs):
        attrs = wire.parse_attrs(element)
        if wire.text(attrs.get(uapi.EXPR_NAME, b"")) == "counter":
            return _counted(attrs.get(uapi.EXPR_DATA, b"")).packets
    raise WireError("a rule has no counter")


def decode_counter(attrs: Mapping[int, bytes]) -> tuple[str, Counted] | None:
    """Name and counts of a named counter from the attributes of NFT_MSG_NEWOBJ; None: it is another kind of object."""
    if attrs.get(uapi.OBJ_TYPE) != uapi.OBJECT_COUNTER.to_bytes(4, "big"):
        return None
    return wire.text(attrs.get(uapi.OBJ_NAME, b"")), _counted(attrs.get(uapi.OBJ_DATA, b""))


def _counted(payload: bytes) -> Counted:
    data = wire.parse_attrs(payload)
    return Counted(*(wire.be64(data.get(kind, bytes(8))) for kind in (uapi.COUNTER_PACKETS, uapi.COUNTER_BYTES)))
