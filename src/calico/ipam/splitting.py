"""Cuts a pool into equal parts, in one transaction: at no time is an address in no pool, or in two."""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Callable
from datetime import datetime

import msgspec

from calico.datastore.api import Backend, CompareFailed, Op
from calico.errors import Conflict, InvalidInput, NotFound
from calico.ipam.choice.pools import pool_of
from calico.ipam.stored.block import timestamp
from calico.model.codec import decode, encode
from calico.model.ippool import IPPool
from calico.model.keys import ResourceKey, key_path, kind_prefix, parse_key
from calico.model.meta import Metadata
from calico.model.validation.resource import validate

__all__ = ["MOST_PARTS", "find_pool", "parts_of", "split_pool"]

MOST_PARTS = 64
"""So many fit into one transaction with room to spare."""


def parts_of(pool: IPPool, count: int) -> tuple[IPPool, ...]:
    """The parts, named after the pool; InvalidInput when it cannot be cut so."""
    subject = f"IPPool {pool.metadata.name}"
    if not 2 <= count <= MOST_PARTS or count & (count - 1):
        raise InvalidInput(f"can be split into 2 to {MOST_PARTS} parts, a power of two, not {count}", subject=subject)
    whole = pool_of(pool)
    length = whole.network.prefixlen + count.bit_length() - 1
    if length > whole.block_size:
        smallest = f"its blocks are /{whole.block_size}, the parts would be /{length}"
        raise InvalidInput(f"is too small to be split into {count} parts: {smallest}", subject=subject)
    return tuple(
        msgspec.structs.replace(
            pool,
            metadata=Metadata(name=f"split-{pool.metadata.name}-{index}", labels=pool.metadata.labels),
            spec=msgspec.structs.replace(pool.spec, cidr=str(part)),
        )
        for index, part in enumerate(whole.network.subnets(new_prefix=length))
    )


async def find_pool(backend: Backend, *, name: str = "", cidr: str = "") -> IPPool:
    """The pool of that name or CIDR, with its version; NotFound when there is none, InvalidInput when it is damaged."""
    for kv in (await backend.list(kind_prefix("IPPool"))).items:
        key = parse_key(kv.key)
        if key is None:
            continue
        found = decode(key, kv.value, kv.mod_revision)
        if not isinstance(found.resource, IPPool) or (name and key.name != name):
            continue
        if cidr and found.resource.spec.cidr != _canonical(cidr):
            continue
        if found.problems:
            raise InvalidInput("; ".join(found.problems), subject=str(key))
        return found.resource
    raise NotFound(f"there is no IPPool {name or cidr}")


async def split_pool(
    backend: Backend, pool: IPPool, count: int, now: datetime, new_uid: Callable[[], uuid.UUID] = uuid.uuid4
) -> tuple[IPPool, ...]:
    """Replace the pool by its parts; Conflict when the pool changed, or a part's name is taken."""
    parts = parts_of(pool, count)
    ops = [Op(key_path(ResourceKey("IPPool", "", pool.metadata.name)), expect=int(pool.metadata.resource_version))]
    for part in parts:
        if faults := validate(part):
            raise InvalidInput("; ".join(map(str, faults)), subject=f"IPPool {part.metadata.name}")
        metadata = msgspec.structs.replace(part.metadata, uid=str(new_uid()), creation_timestamp=timestamp(now))
        stored = encode(msgspec.structs.replace(part, metadata=metadata))
        ops.append(Op(key_path(ResourceKey("IPPool", "", metadata.name)), stored, expect=0))
    try:
        await backend.txn(ops)
    except CompareFailed as error:
        raise Conflict(f"IPPool {pool.metadata.name} was not split: {error}") from error
    return parts


def _canonical(cidr: str) -> str:
    try:
        return str(ipaddress.ip_network(cidr, strict=False))
    except ValueError as error:
        raise InvalidInput(str(error), subject=cidr) from error
