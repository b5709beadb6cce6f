"""Takes addresses of one block back: the block and the handles of the addresses change in one transaction."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from calico.datastore.api import CompareFailed, KeyValue, Op
from calico.errors import CalicoError, Conflict, InvalidInput, Uncertain
from calico.ipam.steps.owning import ATTEMPTS
from calico.ipam.steps.placing import count_ops, stored_by
from calico.ipam.steps.tools import Tools
from calico.ipam.stored.block import Block, address_at, collect, is_empty, release, written
from calico.ipam.stored.block_codec import encode_block, known_block
from calico.ipam.stored.keys import handle_key, parse_block_key

__all__ = ["Freeing", "Pick"]

_HANDLES_PER_WRITE = 100

Pick = Callable[[Block], Sequence[int]]
"""Which addresses of a block go, as it is now; they are given out."""


class _Request:
    """One release, until it is ``done`` or has ``failed``. ``lost``: what a write took whose answer was lost."""

    def __init__(self, pick: Pick, handles: dict[str, KeyValue | None]) -> None:
        self.pick, self.handles = pick, handles
        self.released: dict[str, None] = {}
        self.lost: tuple[_Held, ...] = ()
        self.done = False
        self.failed: CalicoError | None = None

    @property
    def is_open(self) -> bool:
        return not self.done and self.failed is None


class Freeing:
    """Releases in one block after the other. Those that come while a block is being written go together into its next
    write."""

    def __init__(self, tools: Tools) -> None:
        self._tools, self._backend = tools, tools.backend
        self._queues: defaultdict[str, list[_Request]] = defaultdict(list)

    async def free(self, seen: KeyValue, pick: Pick, handles: dict[str, KeyValue | None], cooldown_s: int) -> list[str]:
        """Release what ``pick`` says, as often as it says something; the addresses that are free now.

        ``seen`` and ``handles`` (by key) may be outdated; the latter is kept up.
        """
        cidr, request = parse_block_key(seen.key), _Request(pick, handles)
        queue = self._queues[cidr]
        queue.append(request)
        try:
            async with self._tools.turns.of(cidr):
                last = self._tools.cache.last(cidr)
                stored: KeyValue | None = last if last is not None and last.mod_revision > seen.mod_revision else seen
                for _ in range(ATTEMPTS):
                    if not request.is_open:
                        break
                    others = [each for each in queue if each.is_open and each is not request]
                    stored = await self._round(seen.key, stored, [request, *others], cooldown_s)
        finally:
            queue.remove(request)
            if not queue:
                self._queues.pop(cidr, None)
        if request.failed is not None:
            raise request.failed
        if not request.done:
            raise Conflict(f"block {seen.key} keeps changing while addresses in it are released")
        return list(request.released)

    async def _round(
        self, at: str, stored: KeyValue | None, requests: Sequence[_Request], cooldown_s: int
    ) -> KeyValue | None:
        """One write for as many of them as fit, the first above all; the block as it is after it, as far as known."""
        if stored is None:
            for request in requests:
                request.released |= dict.fromkeys(held.address for held in request.lost)
                request.done = True
            return None
        now = self._tools.now()
        block = collect(known_block(at, stored.value), now, cooldown_s)
        going = _chosen(block, requests)
        if not going:
            return stored
        after = release(block, [held.ordinal for all_held in going.values() for held in all_held], now, cooldown_s)
        gone = after.affinity is None and is_empty(after)
        op = Op(at, None if gone else encode_block(written(after)), expect=stored.mod_revision)
        counts = {request: _counts(held) for request, held in going.items()}
        try:
            await asyncio.gather(*(self._read_handles(counts[request], request.handles) for request in going))
            handle_ops = count_ops(_together(counts), block.cidr)
            revision = await self._backend.txn([op, *handle_ops])
        except CompareFailed as failed:
            for request in going:
                expected = [key for key in counts[request] if request.handles[key] is not None]
                request.handles.clear()
                request.handles.update({key: failed.current.get(key) for key in expected})
            return failed.current.get(at)
        except Uncertain:
            _lose(going)
            return await self._backend.get(at)
        except asyncio.CancelledError:
            _lose(going)  # the others look again
            self._tools.cache.note(block.cidr, None)
            raise
        except CalicoError as error:
            if isinstance(error, InvalidInput) and len(going) > 1:  # somebody's handle is damaged: each for itself
                return await self._round(at, stored, requests[:1], cooldown_s)
            for request in going:
                request.failed = error
            return stored
        left = {each.key: stored_by(each, revision) if each.value is not None else None for each in handle_ops}
        for request, held in going.items():
            request.released |= dict.fromkeys(one.address for one in held)
            request.handles.update({key: left.get(key) for key in counts[request]})
            request.lost = ()
        known = None if gone else stored_by(op, revision)
        self._tools.cache.note(block.cidr, known)
        return known

    async def _read_handles(self, wanted: Iterable[str], handles: dict[str, KeyValue | None]) -> None:
        missing = [key for key in wanted if key not in handles]
        found = await asyncio.gather(*(self._backend.get(key) for key in missing))
        handles.update(zip(missing, found, strict=True))


class _Held(msgspec.Struct, frozen=True):
    """An address as it was given out."""

    ordinal: int
    address: str
    handle: str
    sequence: int | None


def _chosen(block: Block, requests: Sequence[_Request]) -> dict[_Request, tuple[_Held, ...]]:
    """What each of them takes back now; a request for which nothing is left is done."""
    going: dict[_Request, tuple[_Held, ...]] = {}
    taken: set[int] = set()
    handles = 0
    for request in requests:
        request.released |= dict.fromkeys(held.address for held in request.lost if not _still(block, held))
        wanted = request.pick(block)
        if not wanted:
            request.done = True
            continue
        held = _some(block, [ordinal for ordinal in wanted if ordinal not in taken], _HANDLES_PER_WRITE - handles)
        if held:
            going[request] = held
            taken |= {one.ordinal for one in held}
            handles += len({one.handle for one in held})
    return going


def _counts(held: Iterable[_Held]) -> Counter[str]:
    """How many addresses of each handle, by its key."""
    return Counter(handle_key(one.handle) for one in held if one.handle)


def _together(counts: Mapping[_Request, Counter[str]]) -> list[tuple[str, KeyValue | None, int]]:
    """The same for all of them, each handle once, as it was seen last."""
    total = sum(counts.values(), Counter[str]())
    seen: dict[str, KeyValue | None] = {}
    for request, own in counts.items():
        for key in own:
            known = request.handles[key]
            before = seen.setdefault(key, known)
            if known is not None and (before is None or before.mod_revision < known.mod_revision):
                seen[key] = known
    return [(key, seen[key], count) for key, count in total.items()]


def _lose(going: Mapping[_Request, tuple[_Held, ...]]) -> None:
    for request, held in going.items():
        request.lost = held
        request.handles.clear()


def _some(block: Block, ordinals: Iterable[int], room: int) -> tuple[_Held, ...]:
    """As many of them as fit into one transaction that has room for so many handles."""
    going: list[_Held] = []
    handles: set[str] = set()
    for ordinal in ordinals:
        held = block.holder(ordinal)
        handle = (held.handle or "").partition("\r")[0] if held is not None else ""
        handles.add(handle)
        if len(handles) > room:
            break
        going.append(_Held(ordinal, str(address_at(block, ordinal)), handle, block.sequences.get(ordinal)))
    return tuple(going)


def _still(block: Block, held: _Held) -> bool:
    """Whether an address is given out as it was."""
    now = block.holder(held.ordinal)
    return now is not None and block.sequences.get(held.ordinal) == held.sequence
