"""Handles in the datastore: how many addresses of which blocks belong together (spec §9.1)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from calico.errors import InvalidInput
from calico.ipam.stored.keys import parse_handle_key

__all__ = ["Handle", "counted", "decode_handle", "encode_handle"]


class Handle(msgspec.Struct, frozen=True):
    """``blocks``: CIDR of a block to the number of its addresses; no entry is zero."""

    blocks: Mapping[str, int] = {}
    deleted: bool = False
    extra: Mapping[str, object] = {}


class _Stored(msgspec.Struct):
    block: dict[str, int] | None = None
    deleted: bool = False


def decode_handle(key: str, raw: bytes) -> Handle:
    """The handle under a key; InvalidInput when it cannot be read."""
    try:
        tree = msgspec.json.decode(raw, type=dict[str, object])
        found = msgspec.convert(tree, _Stored)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(str(error), subject=f"handle {parse_handle_key(key)}") from error
    extra = {name: value for name, value in tree.items() if name not in ("block", "deleted")}
    return Handle(found.block or {}, found.deleted, extra)


def encode_handle(handle: Handle) -> bytes:
    """The JSON of a handle."""
    return msgspec.json.encode(
        {"block": dict(sorted(handle.blocks.items())), "deleted": handle.deleted, **handle.extra}
    )


def counted(handle: Handle, cidr: str, change: int) -> Handle:
    """The handle with more or fewer addresses of a block; never fewer than none."""
    count = handle.blocks.get(cidr, 0) + change
    others = {block: number for block, number in handle.blocks.items() if block != cidr}
    return msgspec.structs.replace(handle, blocks={**others, cidr: count} if count > 0 else others)
