"""Blocks to Calico's JSON and back: the same fields in the same order, those that we do not know kept."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from calico.errors import InvalidInput
from calico.ipam.stored.block import Attribute, Block
from calico.ipam.stored.keys import network, parse_block_key

__all__ = ["DamagedBlock", "decode_block", "encode_block", "known_block"]

_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class DamagedBlock(InvalidInput):
    """A block that cannot be read, or contradicts itself: nothing is given out from it."""


class _Attribute(msgspec.Struct):
    handle_id: str | None = None
    secondary: dict[str, str] | None = None
    alternate: dict[str, str] | None = msgspec.field(default=None, name="alternateOwnerAttrs")
    released_at: str | None = msgspec.field(default=None, name="releasedAt")


class _Block(msgspec.Struct):
    cidr: str
    affinity: str | None = None
    claim_time: str | None = msgspec.field(default=None, name="affinity_claim_time")
    allocations: list[int | None] | None = None
    unallocated: list[int] | None = None
    attributes: list[dict[str, Any] | None] | None = None
    sequence: int = msgspec.field(default=0, name="sequenceNumber")
    sequences: dict[int, int] | None = msgspec.field(default=None, name="sequenceNumberForAllocation")
    deleted: bool = False
    host_affinity: str | None = msgspec.field(default=None, name="hostAffinity")


_DECODER = msgspec.json.Decoder(dict[str, Any])
_BLOCK_FIELDS = frozenset(_Block.__struct_encode_fields__)
_ATTRIBUTE_FIELDS = frozenset(_Attribute.__struct_encode_fields__)
_MAX_BITS = 12  # a /20 or /116, the largest that Calico allows


def decode_block(key: str, raw: bytes) -> Block:
    """The block under a key. DamagedBlock, naming what is wrong, for one from which nothing may be given out."""
    try:
        tree = _DECODER.decode(raw)
        found = msgspec.convert(tree, _Block, str_keys=True)
        attributes = tuple(_attribute(item or {}) for item in found.attributes or ())
    except _MALFORMED as error:
        raise _damaged(key, str(error)) from error
    affinity = found.affinity
    if affinity is None and found.host_affinity is not None:
        affinity = f"host:{found.host_affinity}"
    block = Block(
        cidr=found.cidr,
        affinity=affinity,
        claim_time=found.claim_time,
        allocations=tuple(found.allocations or ()),
        unallocated=tuple(found.unallocated or ()),
        attributes=attributes,
        sequence=found.sequence,
        sequences=found.sequences or {},
        deleted=found.deleted,
        extra=_unknown(tree, _BLOCK_FIELDS),
    )
    _check(key, block)
    return block


known_block = lru_cache(maxsize=128)(decode_block)
"""``decode_block`` for the few blocks that are in use: the same bytes are read once."""


def _attribute(tree: Mapping[str, Any]) -> Attribute:
    found = msgspec.convert(tree, _Attribute)
    return Attribute(
        handle=found.handle_id,
        secondary=found.secondary or {},
        alternate=found.alternate or {},
        released_at=found.released_at,
        extra=_unknown(tree, _ATTRIBUTE_FIELDS),
    )


def _unknown(tree: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in tree.items() if name not in known} if tree.keys() - known else {}


def _check(key: str, block: Block) -> None:
    if block.cidr != parse_block_key(key):
        raise _damaged(key, f"cidr: {block.cidr[:64]!r} is not what the key says")
    try:
        parsed = network(block.cidr)
    except ValueError as error:
        raise _damaged(key, f"cidr: {error}") from error
    if parsed.max_prefixlen - parsed.prefixlen > _MAX_BITS:
        raise _damaged(key, "cidr: the block is larger than any may be")
    size = parsed.num_addresses
    if len(block.allocations) != size:
        raise _damaged(key, f"allocations: {len(block.allocations)} entries, there are {size} addresses")
    if any(index is not None and not 0 <= index < len(block.attributes) for index in block.allocations):
        raise _damaged(key, "allocations: an entry refers to attributes that are not there")
    if any(not 0 <= ordinal < size for ordinal in block.unallocated):
        raise _damaged(key, f"unallocated: an ordinal is not below {size}")
    if len(set(block.unallocated)) != len(block.unallocated):
        raise _damaged(key, "unallocated: an ordinal stands twice")


def _damaged(key: str, message: str) -> DamagedBlock:
    return DamagedBlock(message, subject=f"block {parse_block_key(key) or key}")


def encode_block(block: Block) -> bytes:
    """The JSON of a block, as Calico writes it."""
    tree: dict[str, Any] = {"cidr": block.cidr, "affinity": block.affinity}
    if block.claim_time is not None:
        tree["affinity_claim_time"] = block.claim_time
    tree["allocations"] = block.allocations
    tree["unallocated"] = block.unallocated
    tree["attributes"] = [_attribute_tree(attribute) for attribute in block.attributes]
    tree["sequenceNumber"] = block.sequence
    tree["sequenceNumberForAllocation"] = dict(sorted((str(key), value) for key, value in block.sequences.items()))
    tree["deleted"] = block.deleted
    return msgspec.json.encode({**tree, **block.extra})


def _attribute_tree(attribute: Attribute) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    if attribute.handle is not None:
        tree["handle_id"] = attribute.handle
    if attribute.secondary:
        tree["secondary"] = dict(sorted(attribute.secondary.items()))
    if attribute.alternate:
        tree["alternateOwnerAttrs"] = dict(sorted(attribute.alternate.items()))
    if attribute.released_at is not None:
        tree["releasedAt"] = attribute.released_at
    return {**tree, **attribute.extra}
