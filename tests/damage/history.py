"""A store that is damaged again and again under the eyes of both agents, and mended in the end."""

from __future__ import annotations

import random

from calico.datastore.api import Backend, Op
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY
from damage.agents import BGPSide, FelixSide, check, following, reached
from damage.draw import a_damaged_key, damaged
from damage.good import GOOD

__all__ = ["KEYS", "VALUES", "bear_damage", "fill"]

AT_ONCE = 3
VALUES = list(GOOD.values())
KEYS = sorted(GOOD.keys() - {CLUSTER_INFO_KEY})


async def fill(backend: Backend) -> None:
    """Put the good store there."""
    await backend.txn([Op(key, value) for key, value in GOOD.items()])


async def bear_damage(backend: Backend, draw: random.Random, steps: int) -> None:
    """Damage one key after another, at most three at a time; check after each step, and that no trace is left."""
    felix, bgp = FelixSide(), BGPSide()
    await fill(backend)
    async with following(backend, felix, bgp):
        await reached(felix, bgp, GOOD)
        check(felix, bgp, GOOD)
        sound = felix.dataplane, bgp.plan()
        values = dict(GOOD)
        hurt: list[str] = []
        for step in range(steps):
            if len(hurt) == AT_ONCE:
                mended = hurt.pop(0)
                await _put(backend, values, mended, GOOD.get(mended))
            key = a_damaged_key(draw, KEYS)
            hurt = [*(one for one in hurt if one != key), key]
            await _put(backend, values, key, damaged(draw, GOOD.get(key, draw.choice(VALUES)), VALUES))
            await reached(felix, bgp, values)
            try:
                check(felix, bgp, values)
            except BaseException as error:
                error.add_note(f"step {step}: " + "; ".join(f"{one} = {values[one]!r}" for one in hurt))
                raise
        for key in hurt:
            await _put(backend, values, key, GOOD.get(key))
        await reached(felix, bgp, GOOD)
        check(felix, bgp, GOOD)
        assert (felix.dataplane, bgp.plan()) == sound
        assert list(felix.conditions) == []


async def _put(backend: Backend, values: dict[str, bytes], key: str, value: bytes | None) -> None:
    await backend.txn([Op(key, value)])
    if value is None:
        values.pop(key, None)
    else:
        values[key] = value
