"""Declarations of sets and maps to netlink and back.

A set's *kernel name* may differ from its own (``SetDecl.name``): while a set is replaced by a larger one both exist.
The own name is then kept in the set's comment, which ``nft list`` shows.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Literal, cast

import msgspec

from calico.netlink import wire
from calico.netlink.nftables import uapi
from calico.netlink.nftables.objects import VERDICT_VALUE, KeyField, SetDecl
from calico.netlink.wire import WireError, attr, attr_be32, attr_str, nested

__all__ = ["KernelSet", "decode_set", "encode_set", "kernel_key_length", "key_length", "value_length"]


class KernelSet(msgspec.Struct, frozen=True, gc=False):
    """A set as the kernel has it. ``decl`` is None when its shape is not one that we declare."""

    kernel_name: str
    name: str
    decl: SetDecl | None


# -- declarations ----------------------------------------------------------------------------------------------------


def key_length(key: Sequence[KeyField]) -> int:
    """Bytes of an element's key in ``TableState``: every field padded to a multiple of 4."""
    return sum((uapi.KEY_TYPES[field][1] + 3) & ~3 for field in key)


def value_length(field: KeyField) -> int:
    """Bytes of an element's value in the kernel; in ``TableState`` it is padded to a multiple of 4."""
    return uapi.KEY_TYPES[field][1]


def encode_set(decl: SetDecl, kernel_name: str, set_id: int) -> bytes:
    """The attributes of NFT_MSG_NEWSET after the table's; ``set_id`` is unique within the batch."""
    if decl.interval and decl.value:
        raise WireError(f"map {decl.name}: maps of intervals are not supported")
    flags = (uapi.SET_F_INTERVAL if decl.interval else 0) | (uapi.SET_F_MAP if decl.value else 0)
    parts = [
        attr_str(uapi.SET_NAME, kernel_name),
        attr_be32(uapi.SET_FLAGS, flags),
        attr_be32(uapi.SET_KEY_TYPE, _key_type(decl.key)),
        attr_be32(uapi.SET_KEY_LEN, kernel_key_length(decl)),
        attr_be32(uapi.SET_ID, set_id),
    ]
    if decl.value:
        kind, length = _data_type(decl.value)
        parts.append(attr_be32(uapi.SET_DATA_TYPE, kind))
        parts.append(attr_be32(uapi.SET_DATA_LEN, length))
    if decl.size:
        parts.append(nested(uapi.SET_DESC, attr_be32(uapi.SET_DESC_SIZE, decl.size)))
    parts.append(attr(uapi.SET_USERDATA, _set_userdata(decl, kernel_name)))
    return b"".join(parts)


def decode_set(attrs: Mapping[int, bytes]) -> KernelSet:
    """A set from the attributes of NFT_MSG_NEWSET."""
    kernel_name = wire.text(attrs.get(uapi.SET_NAME, b""))
    name = _comment(attrs.get(uapi.SET_USERDATA, b"")) or kernel_name
    flags = wire.be32(attrs.get(uapi.SET_FLAGS, b"\0\0\0\0"))
    key = _key_of(wire.be32(attrs.get(uapi.SET_KEY_TYPE, b"\0\0\0\0")))
    if key is None or flags not in (0, uapi.SET_F_INTERVAL, uapi.SET_F_MAP):
        return KernelSet(kernel_name, name, None)
    value = _value_of(attrs) if flags & uapi.SET_F_MAP else None
    if flags & uapi.SET_F_MAP and value is None:
        return KernelSet(kernel_name, name, None)
    desc = wire.parse_attrs(attrs.get(uapi.SET_DESC, b""))
    size = wire.be32(desc.get(uapi.SET_DESC_SIZE, b"\0\0\0\0"))
    interval = bool(flags & uapi.SET_F_INTERVAL)
    decl = SetDecl(name, key, value, interval, size)
    if interval and key not in (("ipv4_addr",), ("ipv6_addr",)):
        return KernelSet(kernel_name, name, None)
    if wire.be32(attrs.get(uapi.SET_KEY_LEN, b"\0\0\0\0")) != kernel_key_length(decl):
        return KernelSet(kernel_name, name, None)
    return KernelSet(kernel_name, name, decl)


def _data_type(value: Literal["verdict"] | KeyField) -> tuple[int, int]:
    """The number and length of what a map's elements hold."""
    if value == VERDICT_VALUE:
        return uapi.DATA_TYPE_VERDICT, uapi.DATA_LEN_VERDICT
    return uapi.KEY_TYPES[value][0], value_length(value)


def _value_of(attrs: Mapping[int, bytes]) -> Literal["verdict"] | KeyField | None:
    """What a map's elements hold; None if it is nothing that we declare."""
    kind = wire.be32(attrs.get(uapi.SET_DATA_TYPE, b"\0\0\0\0"))
    if kind == uapi.DATA_TYPE_VERDICT:
        return VERDICT_VALUE
    fields = _key_of(kind)
    if fields is None or len(fields) != 1:
        return None
    length = wire.be32(attrs.get(uapi.SET_DATA_LEN, b"\0\0\0\0"))
    return fields[0] if length == value_length(fields[0]) else None


def _key_type(key: Sequence[KeyField]) -> int:
    number = 0
    for field in key:
        number = number << uapi.KEY_TYPE_BITS | uapi.KEY_TYPES[field][0]
    return number


def _key_of(number: int) -> tuple[KeyField, ...] | None:
    names = {kind: name for name, (kind, _, _) in uapi.KEY_TYPES.items()}
    fields: list[str] = []
    while number:
        name = names.get(number & (1 << uapi.KEY_TYPE_BITS) - 1)
        if name is None:
            return None
        fields.insert(0, name)
        number >>= uapi.KEY_TYPE_BITS
    return cast("tuple[KeyField, ...]", tuple(fields)) or None


def kernel_key_length(decl: SetDecl) -> int:
    """Bytes of a key in the kernel, which pads the fields of a concatenation, but not a lone field."""
    if len(decl.key) == 1:
        return uapi.KEY_TYPES[decl.key[0]][1]
    if decl.interval:
        raise WireError(f"set {decl.name}: intervals of concatenations are not supported")
    return key_length(decl.key)


def _set_userdata(decl: SetDecl, kernel_name: str) -> bytes:
    """Byte orders, so that ``nft list`` shows keys and values, and the own name if the kernel's differs."""
    data = _udata_u32(uapi.UDATA_SET_KEY_BYTEORDER, _byte_order(decl.key[0]) if len(decl.key) == 1 else 0)
    if decl.value and decl.value != VERDICT_VALUE:
        data += _udata_u32(uapi.UDATA_SET_DATA_BYTEORDER, _byte_order(decl.value))
    if kernel_name != decl.name:
        name = decl.name.encode() + b"\0"
        if len(name) > 128:
            raise WireError(f"set name {decl.name!r} is too long to be kept in a comment")
        data += bytes((uapi.UDATA_SET_COMMENT, len(name))) + name
    return data


def _byte_order(field: KeyField) -> int:
    return uapi.BYTEORDER_HOST if uapi.KEY_TYPES[field][2] else uapi.BYTEORDER_BIG


def _udata_u32(kind: int, value: int) -> bytes:
    return bytes((kind, 4)) + value.to_bytes(4, sys.byteorder)


def _comment(userdata: bytes) -> str:
    offset = 0
    while offset + 2 <= len(userdata):
        kind, length = userdata[offset], userdata[offset + 1]
        if kind == uapi.UDATA_SET_COMMENT:
            return wire.text(userdata[offset + 2 : offset + 2 + length])
        offset += 2 + length
    return ""
