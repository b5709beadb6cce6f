"""One block of addresses and what can be done with it (spec §9.2). Pure: time is an argument, every result a new value.

A block's ordinals are its addresses counted from zero. The number of a block grows by one with every write
(``written``); an allocation remembers the number that the block had when it was made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
from msgspec.structs import replace

from calico.ipam.stored.keys import Address, Network, network

__all__ = [
    "WINDOWS_RESERVED",
    "Attribute",
    "Block",
    "address_at",
    "assign",
    "assign_ordinal",
    "collect",
    "is_empty",
    "new_block",
    "ordinal_of",
    "release",
    "same_handle",
    "timestamp",
    "written",
]

WINDOWS_RESERVED = "windows-reserved-ipam-handle"


class Attribute(msgspec.Struct, frozen=True):
    """Whom an address is for; shared by all addresses of which the same is said. ``released_at``: it cools down.

    ``extra`` are fields of newer versions, kept as they are.
    """

    handle: str | None = None
    secondary: Mapping[str, str] = {}
    alternate: Mapping[str, str] = {}
    released_at: str | None = None
    extra: Mapping[str, object] = {}


class Block(msgspec.Struct, frozen=True):
    """``allocations[ordinal]`` is an index into ``attributes`` or None; ``unallocated`` is the order of reuse."""

    cidr: str
    affinity: str | None
    allocations: tuple[int | None, ...]
    unallocated: tuple[int, ...]
    attributes: tuple[Attribute, ...]
    sequence: int
    sequences: Mapping[int, int]
    claim_time: str | None = None
    deleted: bool = False
    extra: Mapping[str, object] = {}

    @property
    def network(self) -> Network:
        return network(self.cidr)

    def attribute(self, ordinal: int) -> Attribute | None:
        """What is recorded of an address; also of one that cools down."""
        index = self.allocations[ordinal]
        return None if index is None else self.attributes[index]

    def holder(self, ordinal: int) -> Attribute | None:
        """Whom an address is given to; None when it is free or cools down."""
        attribute = self.attribute(ordinal)
        return None if attribute is None or attribute.released_at is not None else attribute

    def held(self) -> Iterable[tuple[int, Attribute]]:
        """Every address that is given out, with whom it is for."""
        for ordinal in range(len(self.allocations)):
            if (attribute := self.holder(ordinal)) is not None:
                yield ordinal, attribute

    def ordinals_of(self, handle: str) -> tuple[int, ...]:
        """The addresses that a handle holds."""
        return tuple(ordinal for ordinal, held in self.held() if same_handle(held.handle, handle))


def same_handle(stored: str | None, handle: str | None) -> bool:
    """Stored handles are cut at the first carriage return."""
    return stored == handle or (stored is not None and handle is not None and stored.partition("\r")[0] == handle)


def timestamp(now: datetime) -> str:
    """RFC 3339 in whole seconds."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def new_block(cidr: str, affinity: str | None, now: datetime, sequence: int) -> Block:
    """An empty block; ``sequence`` is the wall clock in nanoseconds, so that a block made again never repeats one."""
    size = network(cidr).num_addresses
    return Block(
        cidr=cidr,
        affinity=affinity,
        allocations=(None,) * size,
        unallocated=tuple(range(size)),
        attributes=(),
        sequence=sequence,
        sequences={},
        claim_time=timestamp(now) if affinity else None,
    )


def written(block: Block) -> Block:
    """The block as a write stores it."""
    return replace(block, sequence=block.sequence + 1)


def address_at(block: Block, ordinal: int) -> Address:
    """The address of an ordinal."""
    return block.network[ordinal]


def ordinal_of(block: Block, address: Address) -> int:
    """The ordinal of an address; ValueError when it lies outside."""
    if address not in block.network:
        raise ValueError(f"{address} is not in {block.cidr}")
    return int(address) - int(block.network.network_address)


def assign(
    block: Block, count: int, attribute: Attribute, reserved: Callable[[int], bool] = lambda _: False
) -> tuple[Block, tuple[int, ...]]:
    """Up to ``count`` addresses from the head of the queue, those that are reserved left where they are."""
    taken: list[int] = []
    for ordinal in block.unallocated:
        if len(taken) == count:
            break
        if block.allocations[ordinal] is None and not reserved(ordinal):
            taken.append(ordinal)
    return (_place(block, taken, attribute), tuple(taken)) if taken else (block, ())


def assign_ordinal(block: Block, ordinal: int, attribute: Attribute) -> Block | None:
    """This very address; None when it is given out or cools down."""
    return _place(block, (ordinal,), attribute) if block.allocations[ordinal] is None else None


def _place(block: Block, ordinals: Sequence[int], attribute: Attribute) -> Block:
    block, index = _with_attribute(block, attribute)
    allocations = list(block.allocations)
    for ordinal in ordinals:
        allocations[ordinal] = index
    taken = set(ordinals)
    return replace(
        block,
        allocations=tuple(allocations),
        unallocated=tuple(ordinal for ordinal in block.unallocated if ordinal not in taken),
        sequences={**block.sequences, **dict.fromkeys(ordinals, block.sequence)},
    )


def _with_attribute(block: Block, attribute: Attribute) -> tuple[Block, int]:
    try:
        return block, block.attributes.index(attribute)
    except ValueError:
        return replace(block, attributes=(*block.attributes, attribute)), len(block.attributes)


def release(block: Block, ordinals: Iterable[int], now: datetime, cooldown_s: int) -> Block:
    """Take addresses back: they cool down, and are free at once where there is no cooldown. Free ones stay free."""
    gone = [ordinal for ordinal in ordinals if block.holder(ordinal) is not None]
    if not gone:
        return block
    block, index = _with_attribute(block, Attribute(released_at=timestamp(now)))
    allocations = list(block.allocations)
    for ordinal in gone:
        allocations[ordinal] = index
    return collect(_pruned(replace(block, allocations=tuple(allocations))), now, cooldown_s)


def collect(block: Block, now: datetime, cooldown_s: int) -> Block:
    """Put addresses that have cooled down at the end of the queue."""
    cooled = {index for index, known in enumerate(block.attributes) if _has_cooled(known, now, cooldown_s)}
    free = [ordinal for ordinal, index in enumerate(block.allocations) if index in cooled]
    if not free:
        return block
    freed = set(free)
    kept = {ordinal: number for ordinal, number in block.sequences.items() if ordinal not in freed}
    return _pruned(
        replace(
            block,
            allocations=tuple(None if index in cooled else index for index in block.allocations),
            unallocated=(*(ordinal for ordinal in block.unallocated if ordinal not in freed), *free),
            sequences=kept,
        )
    )


def _has_cooled(attribute: Attribute, now: datetime, cooldown_s: int) -> bool:
    if attribute.released_at is None:
        return False
    try:
        since = datetime.fromisoformat(attribute.released_at)
    except ValueError:
        return True
    since = since if since.tzinfo is not None else since.replace(tzinfo=UTC)
    return cooldown_s <= 0 or (now - since).total_seconds() >= cooldown_s


def _pruned(block: Block) -> Block:
    """Without attributes that nothing refers to."""
    used = sorted({index for index in block.allocations if index is not None})
    if len(used) == len(block.attributes):
        return block
    new = {old: index for index, old in enumerate(used)}
    return replace(
        block,
        attributes=tuple(block.attributes[old] for old in used),
        allocations=tuple(None if index is None else new[index] for index in block.allocations),
    )


def is_empty(block: Block) -> bool:
    """No address is given out or cools down; what Windows keeps for itself does not count."""
    counts = [not same_handle(attribute.handle, WINDOWS_RESERVED) for attribute in block.attributes]
    return not any(index is not None and counts[index] for index in block.allocations)
