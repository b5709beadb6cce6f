"""Rules of routing: which table is asked for packets from an address."""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from calico.netlink import wire
from calico.netlink.rtnetlink.family import address_length, family_of
from calico.netlink.wire import WireError

__all__ = ["SourceRule", "decode_rule", "new_rule"]

_RTM_NEWRULE: Final = 32
_TO_TABLE: Final = 1
_FRA_SRC: Final = 2
_FRA_PRIORITY: Final = 6
_FRA_TABLE: Final = 15
_HEADER = struct.Struct("=BBBBBxxBI")  # family, lengths of destination and source, tos, table, action, flags


class SourceRule(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Packets from one address ask this table; a table without an answer leaves them to the next rule."""

    source: bytes
    table: int
    priority: int


def new_rule(seq: int, rule: SourceRule) -> bytes:
    """Add a rule; EEXIST if it is there."""
    body = _HEADER.pack(family_of(rule.source), 0, len(rule.source) * 8, 0, 0, _TO_TABLE, 0)
    body += wire.attr(_FRA_SRC, rule.source)
    body += wire.attr_u32(_FRA_PRIORITY, rule.priority) + wire.attr_u32(_FRA_TABLE, rule.table)
    flags = wire.NLM_F_REQUEST | wire.NLM_F_CREATE | wire.NLM_F_EXCL
    return wire.message(_RTM_NEWRULE, flags, seq, body)


def decode_rule(payload: bytes) -> SourceRule:
    """A rule from an RTM_NEWRULE payload; WireError for those that are not about one source address."""
    if len(payload) < _HEADER.size:
        raise WireError(f"rule message of {len(payload)} bytes")
    family, _, length, _, table, _, _ = _HEADER.unpack_from(payload)
    attrs = wire.parse_attrs(payload[_HEADER.size :])
    source = attrs.get(_FRA_SRC, b"")
    if len(source) != address_length(family) or length != len(source) * 8:
        raise WireError(f"source of {len(source)} bytes with prefix length {length} in family {family}")
    return SourceRule(
        source=source,
        table=wire.u32(attrs[_FRA_TABLE]) if _FRA_TABLE in attrs else table,
        priority=wire.u32(attrs[_FRA_PRIORITY]) if _FRA_PRIORITY in attrs else 0,
    )
