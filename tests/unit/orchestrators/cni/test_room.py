"""How much a daemon takes upon itself at once."""

from __future__ import annotations

import asyncio

import pytest

from calico.errors import InvalidInput
from calico.orchestrators.cni.serving.room import Room


async def test_a_caller_beyond_the_limit_waits_for_one_to_leave() -> None:
    room = Room(calls=2)
    await room.enter()
    await room.enter()
    third = asyncio.create_task(room.enter())
    await asyncio.sleep(0)
    assert not third.done()
    room.leave()
    await third


async def test_bytes_of_all_callers_together_are_limited_and_given_back() -> None:
    room = Room(size=100)
    await room.enter()
    held = room.hold(60)
    await room.enter()
    with pytest.raises(InvalidInput, match="at once"):
        room.hold(60)
    room.leave(held)
    assert room.hold(60) == 60
