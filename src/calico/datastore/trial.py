"""Writes on trial: what they replaced is kept in the datastore, and put back unless somebody confirms in time.

A trial is one key under ``TRIAL_PREFIX``. It is written before the first change, so that whoever made the change may
die at any moment: any process that can reach the datastore can finish the trial. Putting back is compare-and-swap: what
somebody else has changed meanwhile is left as it is, and said.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from calico.datastore.api import Backend, CompareFailed, Op
from calico.datastore.lease import put_with_ttl
from calico.errors import Conflict, InvalidInput, NotFound, Transient
from calico.model.keys import ResourceKey, key_path
from calico.obs.logger import Logger

__all__ = ["DELETED", "TRIAL_PREFIX", "UNTOUCHED", "Entry", "Trial", "Trials"]

log = Logger(__name__)

TRIAL_PREFIX = "/calico/trial/v1/"
"""Outside everything that agents watch."""

DELETED, UNTOUCHED = -1, -2
"""Instead of a revision: the write deleted the key; there was no write, it was refused or not needed."""

_OUTCOME_TTL_S = 24 * 3600
_RETRY_S = 1.0
State = Literal["open", "rolling-back", "confirmed", "rolled-back"]
_ENDED = ("confirmed", "rolled-back")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One key of a trial. ``before`` None: it did not exist. ``after`` is the revision that the trial's own write gave
    it, ``DELETED``, or 0 while that is not known; ``outcome`` says in the end what became of it."""

    key: str
    subject: str
    before: bytes | None
    before_revision: int
    after: int = 0
    outcome: str = ""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """Changes and when (seconds since 1970) they are undone. ``entries`` are in the order of the writes."""

    id: str
    deadline: float
    within_s: float
    by: str
    state: State = "open"
    entries: tuple[Entry, ...] = ()


class Trials:
    """The trials of a datastore. ``now`` is the time of day: the deadline must mean the same on every machine."""

    def __init__(self, backend: Backend, *, now: Callable[[], float]) -> None:
        self._backend = backend
        self._now = now

    async def begin(self, keys: Sequence[ResourceKey], within_s: float, by: str) -> Trial:
        """Keep what the keys hold now; to be called before the first of them is written.

        Conflict when a key is on another trial that waits: neither could put back what was there before both.
        """
        wanted = {key_path(key) for key in keys}
        for other in await self.list():
            taken = [entry.subject for entry in other.entries if entry.key in wanted]
            if taken and other.state not in _ENDED:
                raise Conflict(
                    f"{', '.join(taken)}: on trial {other.id} already; first `calico trial confirm {other.id}` or "
                    f"`calico trial rollback {other.id}`"
                )
        entries = [await self._entry(key) for key in dict.fromkeys(keys)]
        trial = Trial(
            id=secrets.token_hex(3), deadline=self._now() + within_s, within_s=within_s, by=by, entries=tuple(entries)
        )
        try:
            await self._backend.txn([Op(_path(trial.id), _encode(trial), expect=0)])
        except InvalidInput as error:
            message = f"{len(entries)} resources are too much for one trial, put fewer on it: {error.message}"
            raise InvalidInput(message) from error
        return trial

    async def note(self, trial: Trial, revisions: dict[str, int]) -> None:
        """Say which revision each key (by path) has after its write, or ``DELETED`` or ``UNTOUCHED``.

        Conflict when the time was over before that: what was written since then is put back too.
        """
        stored, revision = await self._get(trial.id)
        entries = tuple(_noted(entry, revisions.get(entry.key, entry.after)) for entry in stored.entries)
        if stored.state == "open":
            noted = msgspec.structs.replace(stored, entries=entries)
            await self._backend.txn([Op(_path(trial.id), _encode(noted), expect=revision)])
        elif stored.state != "confirmed":
            for entry in reversed(entries):
                await self._undo(entry)
            raise Conflict(f"trial {trial.id}: the time was over before all was written; everything was put back")

    async def list(self) -> tuple[Trial, ...]:
        """All trials, open ones first, then by deadline; those that cannot be read are left out."""
        listing = await self._backend.list(TRIAL_PREFIX)
        found = [trial for item in listing.items if (trial := _decode(item.value)) is not None]
        return tuple(sorted(found, key=lambda trial: (trial.state in _ENDED, trial.deadline)))

    async def get(self, trial_id: str) -> Trial:
        """NotFound when there is none of that id."""
        return (await self._get(trial_id))[0]

    async def confirm(self, trial_id: str) -> Trial:
        """Keep what was written. Conflict when it has been undone already."""
        trial, revision = await self._get(trial_id)
        if trial.state == "confirmed":
            return trial
        if trial.state != "open":
            raise Conflict(f"trial {trial_id} is {trial.state} already: what it changed was put back")
        return await self._store_end(msgspec.structs.replace(trial, state="confirmed"), revision)

    async def roll_back(self, trial_id: str) -> Trial:
        """Put back what was there, the last write first; what others changed since is left alone and named.

        From its first step on it cannot be confirmed any more. May be repeated, also by another process. Conflict when
        it has been confirmed.
        """
        trial, revision = await self._get(trial_id)
        if trial.state == "rolled-back":
            return trial
        if trial.state == "confirmed":
            raise Conflict(f"trial {trial_id} is confirmed already")
        if trial.state == "open":
            trial = msgspec.structs.replace(trial, state="rolling-back")
            revision = await self._backend.txn([Op(_path(trial.id), _encode(trial), expect=revision)])
        outcomes = {entry.key: await self._undo(entry) for entry in reversed(trial.entries)}
        entries = tuple(msgspec.structs.replace(entry, outcome=outcomes[entry.key]) for entry in trial.entries)
        return await self._store_end(msgspec.structs.replace(trial, state="rolled-back", entries=entries), revision)

    async def guard(self, trial_id: str = "") -> tuple[Trial, ...]:
        """Wait for the deadline of a trial (all there are, without an id) and undo it unless it was confirmed.

        Goes on through losses of the datastore. Returns the trials as they ended; without an id it first waits until
        there is an open one, and then until there is none.
        """
        waits = not trial_id
        while True:
            wait_s = _RETRY_S
            try:
                trials = [await self.get(trial_id)] if trial_id else list(await self.list())
                due = [trial for trial in trials if trial.state not in _ENDED]
                waits = waits and not due
                if not due and not waits:
                    return tuple(trials)
                for trial in due:
                    if self._now() >= trial.deadline or trial.state == "rolling-back":
                        await self.roll_back(trial.id)
                        wait_s = 0.0
                    else:
                        wait_s = min(wait_s, trial.deadline - self._now())
            except (Transient, Conflict) as error:
                log.warning("trial not looked at; trying again", error=str(error))
            await asyncio.sleep(wait_s)

    async def _entry(self, key: ResourceKey) -> Entry:
        path = key_path(key)
        stored = await self._backend.get(path)
        if stored is None:
            return Entry(key=path, subject=str(key), before=None, before_revision=0)
        return Entry(key=path, subject=str(key), before=stored.value, before_revision=stored.mod_revision)

    async def _undo(self, entry: Entry) -> str:
        """What became of one key. A write that was not noted (its writer died) is taken for the trial's own."""
        current = await self._backend.get(entry.key)
        revision = current.mod_revision if current else 0
        if revision == entry.before_revision or (current.value if current else None) == entry.before:
            return "unchanged"
        if entry.after and revision != max(entry.after, 0):
            return "left alone: changed by others meanwhile"
        try:
            await self._backend.txn([Op(entry.key, entry.before, expect=revision)])
        except CompareFailed:
            return "left alone: changed by others meanwhile"
        return "removed" if entry.before is None else "restored"

    async def _store_end(self, trial: Trial, revision: int) -> Trial:
        """The outcome stays readable for a day."""
        await self._backend.txn([Op(_path(trial.id), _encode(trial), expect=revision)])
        await put_with_ttl(self._backend, _path(trial.id), _encode(trial), _OUTCOME_TTL_S)
        return trial

    async def _get(self, trial_id: str) -> tuple[Trial, int]:
        stored = await self._backend.get(_path(trial_id))
        if stored is None:
            raise NotFound(f"there is no trial {trial_id}; `calico trial list` shows all")
        trial = _decode(stored.value)
        if trial is None:
            raise InvalidInput("cannot be read", subject=f"trial {trial_id}")
        return trial, stored.mod_revision


def _noted(entry: Entry, revision: int) -> Entry:
    after = (entry.before_revision or DELETED) if revision == UNTOUCHED else revision
    return msgspec.structs.replace(entry, after=after)


def _path(trial_id: str) -> str:
    return TRIAL_PREFIX + trial_id


def _encode(trial: Trial) -> bytes:
    return msgspec.json.encode(trial)


def _decode(value: bytes) -> Trial | None:
    try:
        return msgspec.json.decode(value, type=Trial)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
