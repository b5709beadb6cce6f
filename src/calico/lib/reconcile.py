"""Desired against actual, once for everything: want, observe, plan, apply.

Knows nothing of what its keys and values mean. Cost of a plan is the number of keys touched since the last one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Generic, Protocol, TypeVar

import msgspec

__all__ = ["Driver", "Plan", "Reconciler"]

K = TypeVar("K")
V = TypeVar("V")


class Plan(msgspec.Struct, Generic[K, V], frozen=True):
    """What to change: ``put`` creates or replaces, ``delete`` removes. Empty when nothing differs."""

    put: Mapping[K, V]
    delete: frozenset[K]

    def __bool__(self) -> bool:
        return bool(self.put) or bool(self.delete)


class Driver(Protocol[K, V]):
    """The edge that reads and writes the real thing."""

    async def read(self) -> Mapping[K, V]:
        """Everything that is ours, whoever made it."""
        ...

    async def write(self, plan: Plan[K, V]) -> Iterable[tuple[K, Exception]]:
        """Carry out the plan; yields what failed, the rest went through."""
        ...


class Reconciler(Generic[K, V]):
    """Desired and last known actual state of one kind of thing.

    Always true: ``_dirty`` holds every key whose desired and actual values may differ.
    """

    def __init__(self, driver: Driver[K, V]) -> None:
        self._driver = driver
        self._want: dict[K, V] = {}
        self._have: dict[K, V] = {}
        self._dirty: set[K] = set()
        self._read_needed = True
        self._was_read = False
        self._foreign: set[K] = set()
        self.repaired: set[K] = set()
        """What somebody else had changed, and the last apply put right."""

    def want(self, key: K, value: V) -> None:
        """Desire that ``key`` be ``value``."""
        if self._want.get(key) != value or self._have.get(key) != value:
            self._want[key] = value
            self._dirty.add(key)

    def unwant(self, key: K) -> None:
        """Desire that ``key`` be absent."""
        self._want.pop(key, None)
        self._dirty.add(key)

    def touch(self, key: K) -> None:
        """Forget what is known about ``key`` (it was changed behind our back): it is written again if wanted."""
        self._have.pop(key, None)
        self._dirty.add(key)

    def noticed(self, key: K, value: V | None = None) -> None:
        """Somebody else made ``key`` be ``value`` (None: took it away): it is put right by the next apply."""
        if self._have.get(key) == self._want.get(key):
            self._foreign.add(key)
        if value is None:
            self._have.pop(key, None)
        else:
            self._have[key] = value
        self._dirty.add(key)

    def is_right(self, key: K) -> bool:
        """Whether ``key`` is as it should be, as far as known."""
        return self._have.get(key) == self._want.get(key)

    def resync(self) -> None:
        """Read the actual state again at the next apply."""
        self._read_needed = True

    async def look(self) -> Mapping[K, V]:
        """The actual state, read now."""
        await self._read()
        return self._have

    @property
    def desired(self) -> Mapping[K, V]:
        """What is wanted now."""
        return self._want

    def plan(self) -> Plan[K, V]:
        """The difference, as data."""
        return self._plan_of(self._dirty)

    async def apply(self) -> list[tuple[K, Exception]]:
        """Bring the actual state to the desired one; returns the keys that failed, which stay dirty.

        What is wanted while the driver works is not lost: it is dirty for the next call. When the driver raises,
        everything stays dirty and the actual state is read again.
        """
        self.repaired = set()
        if self._read_needed:
            await self._read()
        taken, self._dirty = self._dirty, set()
        plan = self._plan_of(taken)
        foreign, self._foreign = self._foreign, set()
        if not plan:
            return []
        try:
            failed = list(await self._driver.write(plan))
        except BaseException:
            self._dirty |= taken
            self._read_needed = True
            raise
        failed_keys = {key for key, _ in failed}
        for key, value in plan.put.items():
            if key not in failed_keys:
                self._have[key] = value
        for key in plan.delete:
            if key not in failed_keys:
                self._have.pop(key, None)
        self._dirty |= failed_keys
        self.repaired = {key for key in foreign if key in plan.put or key in plan.delete} - failed_keys
        return failed

    async def _read(self) -> None:
        """What was right and not touched since, and is not as it was, somebody else changed."""
        found = dict(await self._driver.read())
        if self._was_read:
            for key in (found.keys() | self._have.keys()) - self._dirty:
                if self._have.get(key) == self._want.get(key) != found.get(key):
                    self._foreign.add(key)
        self._have = found
        self._dirty.update(self._have, self._want)
        self._read_needed, self._was_read = False, True

    def _plan_of(self, keys: set[K]) -> Plan[K, V]:
        put: dict[K, V] = {}
        delete: set[K] = set()
        for key in keys:
            if key in self._want:
                if self._have.get(key) != self._want[key]:
                    put[key] = self._want[key]
            elif key in self._have:
                delete.add(key)
        return Plan(put, frozenset(delete))
