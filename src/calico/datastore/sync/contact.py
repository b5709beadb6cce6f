"""Telling for how long the datastore has not answered, by a condition."""

from __future__ import annotations

import asyncio
from typing import Final

from calico.datastore.sync.syncer import Syncer
from calico.obs.conditions import Conditions

__all__ = ["watch_contact"]

_CHECK_S: Final = 2.0
_LOST_S: Final = 5.0


async def watch_contact(syncer: Syncer, conditions: Conditions) -> None:
    """Say so when the datastore has not answered for a while."""
    while True:
        age = syncer.contact_age_s()
        if age is not None and age > _LOST_S:
            conditions.set("datastore-unreachable", "datastore", f"for {age:.0f} s: {syncer.trouble}")
        else:
            conditions.clear("datastore-unreachable", "datastore")
        await asyncio.sleep(_CHECK_S)
