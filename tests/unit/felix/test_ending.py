"""A daemon that is told to end does, whatever happens at that moment."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from calico.felix.apply_loop import ApplyLoop
from calico.felix.config.settings import FelixConfig
from calico.obs.conditions import Conditions


async def test_the_apply_loop_ends_although_something_changed_in_the_same_moment() -> None:
    wake = asyncio.Event()
    nothing: Any = SimpleNamespace(in_sync=False)
    loop = ApplyLoop(nothing, nothing, nothing, Conditions(), FelixConfig, lambda: None, wake)
    task = asyncio.create_task(loop.run())
    for _ in range(5):
        await asyncio.sleep(0)
    wake.set()
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=5)
    assert done
    assert task.cancelled()
