"""What others change of ours on this host: put right, counted, named, and no fight at full speed.

The first changes of a thing are undone at once. When it is changed again as soon as it is right, somebody else wants
it otherwise: then every repair waits longer than the one before, up to half a minute, and a condition says so.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from calico.dataplane.drift import KINDS, Drift, Kind
from calico.obs.conditions import Conditions

__all__ = ["DriftWatch", "wait_before"]

log = structlog.get_logger(__name__)

_QUIET_S: Final = 300.0
"""A thing that nobody touched for so long is forgotten, and its condition ends."""

_FIGHT_S: Final = 60.0
"""Changes that follow one another within this time are a series."""

_AT_ONCE: Final = 5
_WAIT_MAX_S: Final = 30.0
_SHOWN: Final = 20
_LOGGED: Final = 5
_KNOWN_MAX: Final = 1000


def wait_before(repairs: int) -> float:
    """Seconds to wait before the next repair of a thing that was put right so many times in a row."""
    return 0.0 if repairs < _AT_ONCE else min(_WAIT_MAX_S, 2.0 ** min(repairs - _AT_ONCE, 10))


class _Thing:
    """One thing of ours that others changed."""

    def __init__(self) -> None:
        self.first = datetime.now(UTC)
        self.last = 0.0
        self.count = self.in_a_row = 0
        self.what = "changed"
        self.by = ""
        self.waiting: asyncio.TimerHandle | None = None


class DriftWatch:
    """Told of changes as they are noticed, and of what was put right."""

    def __init__(self, conditions: Conditions, wake: Callable[[], None]) -> None:
        self.repairs: Counter[Kind] = Counter()
        """How many things were put right, by kind."""
        self._conditions = conditions
        self._wake = wake
        self._things: dict[tuple[Kind, str], _Thing] = {}

    def noticed(self, drift: Drift, repair: Callable[[], None]) -> None:
        """Have it put right: by the next apply, or in a while when it is a fight."""
        thing = self._thing(drift.kind, drift.name)
        thing.what, thing.by = drift.what, _process(drift.port)
        if thing.waiting is not None:
            return
        wait = wait_before(thing.in_a_row) if time.monotonic() - thing.last < _FIGHT_S else 0.0
        if not wait:
            repair()
            self._wake()
            return

        def go_on() -> None:
            thing.waiting = None
            repair()
            self._wake()

        thing.waiting = asyncio.get_running_loop().call_later(wait, go_on)

    def repaired(self, kind: Kind, names: Sequence[str], what: str = "") -> None:
        """These were put right; ``what`` had happened to them, if nobody noticed before."""
        if not names:
            return
        now = time.monotonic()
        for name in names:
            thing = self._thing(kind, name)
            thing.in_a_row = thing.in_a_row + 1 if now - thing.last < _FIGHT_S else 1
            thing.last = now
            thing.count += 1
            thing.what = what or thing.what
        self.repairs[kind] += len(names)
        log.warning("put right what others changed", kind=kind, count=len(names), objects=names[:_LOGGED], what=what)
        self._tell(kind)

    def expire(self) -> None:
        """Forget what nobody touched for a while."""
        now = time.monotonic()
        old = [key for key, thing in self._things.items() if thing.last + _QUIET_S < now and thing.waiting is None]
        for key in old:
            del self._things[key]
        if old:
            for kind in {kind for kind, _ in old}:
                self._tell(kind)

    def close(self) -> None:
        """Put nothing right any more."""
        for thing in self._things.values():
            if thing.waiting is not None:
                thing.waiting.cancel()

    def _thing(self, kind: Kind, name: str) -> _Thing:
        if (kind, name) not in self._things and len(self._things) >= _KNOWN_MAX:
            name = "others"
        thing = self._things.setdefault((kind, name), _Thing())
        if not thing.last:
            thing.last = time.monotonic()
        return thing

    def _tell(self, kind: Kind) -> None:
        things = {name: thing for (of, name), thing in self._things.items() if of == kind and thing.count}
        shown = dict(list(things.items())[-_SHOWN:])
        said = {name: _sentence(thing) for name, thing in shown.items()}
        if len(things) > len(shown):
            said["others"] = f"and {len(things) - len(shown)} more"
        self._conditions.replace(f"drift-{kind}", said)
        fights = {
            f"{of} {name}": f"{_sentence(thing)}; put right every {wait_before(thing.in_a_row):g} s from now on"
            for of in KINDS
            for (its, name), thing in self._things.items()
            if its == of and thing.in_a_row >= _AT_ONCE
        }
        self._conditions.replace("drift-fight", fights)


def _sentence(thing: _Thing) -> str:
    times = "once" if thing.count == 1 else f"{thing.count} times"
    by = f" by {thing.by}" if thing.by else ""
    return f"{thing.what}{by}, put right {times} since {thing.first:%Y-%m-%dT%H:%M:%SZ}"


def _process(port: int) -> str:
    """A process has its first netlink socket at the port of its own number; others' ports tell nothing."""
    if not port:
        return ""
    try:
        return f"{Path(f'/proc/{port}/comm').read_text().strip()} (process {port})"
    except OSError:
        return f"process {port}"
