"""Rules of routing: which table is asked for packets from an address, or for those without a mark."""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from calico.netlink import wire
from calico.netlink.rtnetlink.family import address_length, family_of
from calico.netlink.wire import WireError

__all__ = [
    "MarkRule",
    "SourceRule",
    "decode_mark_rule",
    "decode_rule",
    "delete_mark_rule",
    "dump_rules",
    "new_mark_rule",
    "new_rule",
]

_RTM_NEWRULE: Final = 32
_RTM_DELRULE: Final = 33
_RTM_GETRULE: Final = 34
_TO_TABLE: Final = 1
_FRA_SRC: Final = 2
_FRA_PRIORITY: Final = 6
_FRA_FWMARK: Final = 10
_FRA_TABLE: Final = 15
_FRA_FWMASK: Final = 16
_INVERT: Final = 0x2
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


class MarkRule(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Packets of a family that do not have all bits of ``mark`` ask this table."""

    family: int
    mark: int
    table: int
    priority: int


def dump_rules(seq: int, family: int) -> bytes:
    """All rules of a family."""
    return wire.message(_RTM_GETRULE, wire.NLM_F_REQUEST | wire.NLM_F_DUMP, seq, _HEADER.pack(family, *(0,) * 6))


def new_mark_rule(seq: int, rule: MarkRule) -> bytes:
    """Add a rule; EEXIST if it is there."""
    flags = wire.NLM_F_REQUEST | wire.NLM_F_CREATE | wire.NLM_F_EXCL
    return wire.message(_RTM_NEWRULE, flags, seq, _encode_mark_rule(rule))


def delete_mark_rule(seq: int, rule: MarkRule) -> bytes:
    """Remove a rule; ENOENT if there is none."""
    return wire.message(_RTM_DELRULE, wire.NLM_F_REQUEST, seq, _encode_mark_rule(rule))


def decode_mark_rule(payload: bytes) -> MarkRule | None:
    """A rule of this kind from a payload; None for one of any other."""
    if len(payload) < _HEADER.size:
        raise WireError(f"rule message of {len(payload)} bytes")
    family, to_length, from_length, tos, table, action, flags = _HEADER.unpack_from(payload)
    attrs = wire.parse_attrs(payload[_HEADER.size :])
    mark = wire.u32(attrs[_FRA_FWMARK]) if _FRA_FWMARK in attrs else 0
    mask = wire.u32(attrs[_FRA_FWMASK]) if _FRA_FWMASK in attrs else 0
    if to_length or from_length or tos or action != _TO_TABLE or not flags & _INVERT or not mark or mark != mask:
        return None
    return MarkRule(
        family=family,
        mark=mark,
        table=wire.u32(attrs[_FRA_TABLE]) if _FRA_TABLE in attrs else table,
        priority=wire.u32(attrs[_FRA_PRIORITY]) if _FRA_PRIORITY in attrs else 0,
    )


def _encode_mark_rule(rule: MarkRule) -> bytes:
    body = _HEADER.pack(rule.family, 0, 0, 0, 0, _TO_TABLE, _INVERT)
    body += wire.attr_u32(_FRA_PRIORITY, rule.priority) + wire.attr_u32(_FRA_FWMARK, rule.mark)
    return body + wire.attr_u32(_FRA_TABLE, rule.table) + wire.attr_u32(_FRA_FWMASK, rule.mark)
