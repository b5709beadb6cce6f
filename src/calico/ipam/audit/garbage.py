"""Collects leaked addresses in two phases: a mark with its evidence, and, after a time of grace, a second look.

Marks are data in the datastore. An address is freed only while it is held by the very allocation that was marked, and
never when it answers or is in the kernel of a host. Planning is pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from calico.datastore.api import Backend, CompareFailed, Op
from calico.ipam.allocator import Allocator
from calico.ipam.audit.consistency import Finding
from calico.ipam.requests import ReleaseRequest
from calico.ipam.stored.block import timestamp

__all__ = ["GRACE_S", "MARK_PREFIX", "GarbagePlan", "Mark", "carry_out", "plan_garbage", "read_marks"]

MARK_PREFIX = "/calico/ipamgc/v1/mark/"
GRACE_S = 900


class Mark(msgspec.Struct, frozen=True):
    """An allocation (address, handle, sequence number) that nothing was seen to use at ``since``, and who looked."""

    address: str
    block: str
    handle: str
    sequence: int
    node: str
    since: str
    by: str
    evidence: str

    def is_of(self, leak: Finding) -> bool:
        """Whether a leak is the same allocation."""
        return (self.address, self.handle, self.sequence) == (leak.address, leak.handle, leak.sequence)


class GarbagePlan(msgspec.Struct, frozen=True):
    """``waiting``: marks that stay, and why; ``unmark``: marks that no longer hold, and why."""

    mark: tuple[Mark, ...]
    unmark: Mapping[str, str]
    release: tuple[Mark, ...]
    waiting: Mapping[str, str]


def plan_garbage(
    leaks: Iterable[Finding],
    marks: Iterable[Mark],
    *,
    alive: Mapping[str, str],
    unseen: Mapping[str, str],
    now: datetime,
    by: str,
    grace_s: int = GRACE_S,
) -> GarbagePlan:
    """``alive``: addresses with signs of life, and which; ``unseen``: those of hosts that nobody looked at, and which.

    A sign of life removes the mark, so that grace begins anew.
    """
    by_address = {leak.address: leak for leak in leaks}
    known = {mark.address: mark for mark in marks}
    new: list[Mark] = []
    unmark: dict[str, str] = {}
    release: list[Mark] = []
    waiting: dict[str, str] = {}
    for address, mark in known.items():
        leak = by_address.get(address)
        if leak is None:
            unmark[address] = "it is used now, or was released"
        elif not mark.is_of(leak):
            unmark[address] = "it was given out anew since it was marked"
    for address, leak in sorted(by_address.items()):
        marked = known.get(address)
        if address in alive:
            waiting[address] = alive[address]
            if marked is not None:
                unmark[address] = alive[address]
        elif marked is None or address in unmark:
            new.append(_mark(leak, now, by))
        elif (left := _left(marked, now, grace_s)) > timedelta():
            waiting[address] = f"grace ends in {int(left.total_seconds())} s"
        elif address in unseen:
            waiting[address] = unseen[address]
        else:
            release.append(marked)
    return GarbagePlan(tuple(new), unmark, tuple(release), waiting)


def _mark(leak: Finding, now: datetime, by: str) -> Mark:
    return Mark(
        address=leak.address,
        block=leak.block,
        handle=leak.handle,
        sequence=leak.sequence,
        node=leak.node,
        since=timestamp(now),
        by=by,
        evidence=leak.explanation,
    )


def _left(mark: Mark, now: datetime, grace_s: int) -> timedelta:
    """How long grace still lasts; a mark whose time cannot be read never ends."""
    try:
        since = datetime.fromisoformat(mark.since)
    except ValueError:
        return timedelta.max
    since = since if since.tzinfo is not None else since.replace(tzinfo=UTC)
    return since + timedelta(seconds=grace_s) - now


async def read_marks(backend: Backend) -> tuple[Mark, ...]:
    """All marks that can be read."""
    found = []
    for kv in (await backend.list(MARK_PREFIX)).items:
        try:
            found.append(msgspec.json.decode(kv.value, type=Mark))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return tuple(found)


async def carry_out(backend: Backend, allocator: Allocator, plan: GarbagePlan) -> tuple[str, ...]:
    """Write and remove marks, and release; the addresses that were freed."""
    for address in plan.unmark:
        await backend.txn([Op(MARK_PREFIX + address)])
    for mark in plan.mark:
        try:
            await backend.txn([Op(MARK_PREFIX + mark.address, msgspec.json.encode(mark), expect=0)])
        except CompareFailed:
            continue  # somebody else marked it just now
    requests = [
        ReleaseRequest(address=mark.address, handle=mark.handle or None, sequence=mark.sequence or None)
        for mark in plan.release
    ]
    answer = await allocator.release_ips(requests) if requests else None
    for mark in plan.release:
        await backend.txn([Op(MARK_PREFIX + mark.address)])
    return answer.released if answer is not None else ()
