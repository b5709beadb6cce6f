"""Writes allocations into a block together with their handles: all or nothing, in one transaction.

Requests that come while a block is being written go together into its next write. When the answer to a write is lost,
the block is read again: either the addresses stand there under our handle and number, or the write can no longer
happen, because the next one is made on the same revision of the block.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from calico.datastore.api import CompareFailed, KeyValue, Op
from calico.errors import CalicoError, Conflict, Uncertain
from calico.ipam.steps.blockcache import BlockCache
from calico.ipam.steps.owning import ATTEMPTS
from calico.ipam.steps.patience import PatientBackend
from calico.ipam.steps.turns import Turns
from calico.ipam.stored.block import Attribute, Block, collect, same_handle, written
from calico.ipam.stored.block_codec import encode_block, known_block
from calico.ipam.stored.handle import Handle, counted, decode_handle, encode_handle
from calico.ipam.stored.keys import handle_key

__all__ = ["Choose", "Placed", "Placing", "count_ops", "stored_by"]

_TOGETHER = 100  # with a handle each they fit into one transaction

Choose = Callable[[Block], tuple[Block, tuple[int, ...]]]
"""The block with addresses assigned, and their ordinals; none when it has nothing to give."""


class Placed(msgspec.Struct, frozen=True):
    """What was given out, and block and handle after it as far as we know (None: absent, or not known)."""

    ordinals: tuple[int, ...]
    block: Block | None = None
    handle: KeyValue | None = None


class _Lost(msgspec.Struct, frozen=True):
    """What a write whose answer was lost, or is not there yet, gave out."""

    ordinals: tuple[int, ...]
    sequence: int


class _Request:
    """One request for addresses of a block, until it is ``placed`` or has ``failed``."""

    def __init__(self, attribute: Attribute, choose: Choose, handle: KeyValue | None, read_at: int) -> None:
        self.attribute, self.choose, self.handle, self.read_at = attribute, choose, handle, read_at
        self.held_at = handle_key(attribute.handle) if attribute.handle is not None else ""
        self.lost: _Lost | None = None
        self.placed: Placed | None = None
        self.failed: CalicoError | None = None

    @property
    def is_open(self) -> bool:
        return self.placed is None and self.failed is None


class Placing:
    """Changes blocks, given what was last seen of them."""

    def __init__(self, backend: PatientBackend, clock: Callable[[], datetime], cache: BlockCache, turns: Turns) -> None:
        self._backend, self._clock, self._cache, self._turns = backend, clock, cache, turns
        self._queues: defaultdict[str, list[_Request]] = defaultdict(list)

    async def place(
        self,
        cidr: str,
        attribute: Attribute,
        cooldown_s: int,
        choose: Choose,
        handle: KeyValue | None = None,
        read_at: int = 0,
    ) -> Placed:
        """Let ``choose`` take addresses of a block until that is written; ``handle`` may be outdated.

        Before it says that the block has nothing to give, the block is read, unless its revision is ``read_at``: the
        one that the caller has just read.
        """
        request = _Request(attribute, choose, handle, read_at)
        queue = self._queues[cidr]
        queue.append(request)
        try:
            async with self._turns.of(cidr):
                for _ in range(ATTEMPTS):
                    if not request.is_open:
                        break
                    await self._round(cidr, [each for each in queue if each.is_open][:_TOGETHER], cooldown_s)
        finally:
            queue.remove(request)
            if not queue:
                self._queues.pop(cidr, None)
        if request.failed is not None:
            raise request.failed
        if request.placed is None:
            raise Conflict(f"block {cidr} keeps changing while addresses are taken from it")
        return request.placed

    async def _round(self, cidr: str, requests: Sequence[_Request], cooldown_s: int) -> None:
        """One write for all of them."""
        known = self._cache.last(cidr)
        try:
            seen = known if known is not None else (await self._cache.read([cidr]))[cidr]
            block = collect(known_block(seen.key, seen.value), self._clock(), cooldown_s) if seen is not None else None
        except CalicoError as error:
            self._cache.note(cidr, None)
            _fail(requests if known is None else (), error)
            return
        if seen is None or block is None:
            for request in requests:
                request.placed = Placed((), handle=request.handle)
            return
        after, going = self._choose(block, requests, 0 if known is None else seen.mod_revision)
        if going:
            await self._write(seen, block, written(after), going)
        elif any(request.is_open for request in requests):
            self._cache.note(cidr, None)

    def _choose(
        self, block: Block, requests: Sequence[_Request], remembered: int
    ) -> tuple[Block, dict[_Request, tuple[int, ...]]]:
        """The block with what they take, and who takes something. The others are settled, unless what we have of the
        block is only ``remembered`` (its revision)."""
        after, going = block, dict[_Request, tuple[int, ...]]()
        for request in requests:
            if request.lost is not None and (done := _happened(request.lost, block, request.attribute)):
                request.placed = Placed(done, block, request.handle)
                continue
            certain = remembered in (0, request.read_at)
            try:
                _before(request)
                chosen, ordinals = request.choose(after)
            except CalicoError as error:
                request.failed = error if certain else None
                continue
            if ordinals:
                after, going[request] = chosen, ordinals
            elif certain and not going:
                request.placed = Placed((), after, request.handle)
        return after, going

    async def _write(self, seen: KeyValue, block: Block, after: Block, going: dict[_Request, tuple[int, ...]]) -> None:
        ops = [Op(seen.key, encode_block(after), expect=seen.mod_revision), *_handle_ops(block.cidr, going)]
        try:
            revision = await self._backend.txn(ops)
        except CompareFailed as failed:
            self._cache.note(block.cidr, failed.current.get(seen.key))
            for request in going:
                request.handle = failed.current.get(request.held_at)
        except (Uncertain, asyncio.CancelledError) as error:
            self._cache.note(block.cidr, None)
            for request, ordinals in going.items():
                request.lost = _Lost(ordinals, block.sequence)
            if isinstance(error, asyncio.CancelledError):
                raise  # who waits for the same block looks again
        except CalicoError as error:
            _fail(list(going), error)
        else:
            stored = {op.key: stored_by(op, revision) for op in ops}
            self._cache.note(block.cidr, stored[seen.key])
            for request, ordinals in going.items():
                request.placed = Placed(ordinals, after, stored.get(request.held_at))


def _fail(requests: Sequence[_Request], error: CalicoError) -> None:
    for request in requests:
        request.failed = error


def _before(request: _Request) -> Handle:
    return decode_handle(request.held_at, request.handle.value) if request.handle is not None else Handle()


def _handle_ops(cidr: str, going: dict[_Request, tuple[int, ...]]) -> list[Op]:
    """One write for each handle, also when several requests have the same."""
    counts: dict[str, int] = defaultdict(int)
    stored: dict[str, KeyValue | None] = {}
    for request, ordinals in going.items():
        if request.held_at:
            counts[request.held_at] += len(ordinals)
            stored[request.held_at] = stored.get(request.held_at) or request.handle
    return [_count(key, stored[key], cidr, count) for key, count in counts.items()]


def _count(key: str, stored: KeyValue | None, cidr: str, change: int) -> Op:
    """The write that counts addresses of a block in a handle, or deletes the handle with its last one."""
    before = decode_handle(key, stored.value) if stored is not None else Handle()
    after = counted(before, cidr, change)
    value = encode_handle(after) if after.blocks else None
    return Op(key, value, expect=stored.mod_revision if stored is not None else 0)


def stored_by(op: Op, revision: int) -> KeyValue:
    """A key as our write left it. Only the revision it was changed at matters to us."""
    return KeyValue(op.key, op.value or b"", revision, 0, 0)


def _happened(lost: _Lost, block: Block, attribute: Attribute) -> tuple[int, ...]:
    """The addresses of a write whose answer was lost, when it did happen. Without a handle nobody can tell: then no."""
    if attribute.handle is None:
        return ()
    return tuple(
        ordinal
        for ordinal in lost.ordinals
        if block.sequences.get(ordinal) == lost.sequence
        and (found := block.holder(ordinal)) is not None
        and same_handle(found.handle, attribute.handle)
    )


def count_ops(counts: Sequence[tuple[str, KeyValue | None, int]], cidr: str) -> list[Op]:
    """The writes that count addresses of a block out of handles: (handle's key, what is stored, how many)."""
    return [_count(key, stored, cidr, -number) for key, stored, number in counts if stored is not None]
