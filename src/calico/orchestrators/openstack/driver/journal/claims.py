"""Taking entries from the journal: by one drainer at a time, however many there are.

A claim is an open transaction that holds the rows' locks; a drainer that dies lets them go. An object is claimed
whole: when another drainer holds an entry of it, it is left alone, for two must never mirror one object at a time.
Nobody waits for a claim: inserting locks nothing, and drainers skip what is locked.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa
from neutron_lib import context as n_context
from neutron_lib.db import api as db_api

from calico.orchestrators.openstack.driver.journal.recording import Place, Work
from calico.orchestrators.openstack.driver.journal.table import JournalEntry

__all__ = ["Claim", "Depth", "claim", "depth", "journalled", "problems_of", "waiting"]

_TABLE = JournalEntry.__table__
_PROBLEM_MAX = 255
_BACKOFF_MAX_S = 300


class Depth(msgspec.Struct, frozen=True):
    """How many entries wait, and for how many seconds the oldest has."""

    entries: int
    oldest_s: float


class Claim:
    """Objects that are ours until ``close``. Not for two threads at a time."""

    def __init__(self, session: Any, rows: Mapping[tuple[str, str], Sequence[Any]]) -> None:
        self._session, self._rows = session, rows
        self.works = tuple(
            Work(kind, identifier, _places(found), max(row.attempts for row in found))
            for (kind, identifier), found in rows.items()
        )

    def done(self, works: Iterable[Work]) -> None:
        """Their entries are mirrored; they go when the claim is closed."""
        numbers = [row.seq for work in works for row in self._rows[work.kind, work.identifier]]
        if numbers:
            self._session.execute(_TABLE.delete().where(_TABLE.c.seq.in_(numbers)))

    def later(self, work: Work, problem: str, now: datetime) -> None:
        """Its entries stay, and are not claimed again before a time that doubles with every attempt."""
        pause = min(2.0 ** min(work.attempts, 10), _BACKOFF_MAX_S)
        numbers = [row.seq for row in self._rows[work.kind, work.identifier]]
        values = {
            "attempts": work.attempts + 1,
            "retry_at": now + timedelta(seconds=pause),
            "problem": problem[:_PROBLEM_MAX],
        }
        self._session.execute(_TABLE.update().where(_TABLE.c.seq.in_(numbers)).values(values))

    def more(self, kind: str, identifiers: Iterable[str]) -> None:
        """Add entries for objects that depend on claimed ones."""
        rows = [{"kind": kind, "object_id": each, "places": "[]"} for each in identifiers]
        if rows:
            self._session.execute(_TABLE.insert(), rows)

    def close(self, *, keep: bool = False) -> None:
        """End the transaction; ``keep`` leaves all entries as they were."""
        try:
            if keep:
                self._session.rollback()
            else:
                self._session.commit()
        finally:
            self._session.close()


def claim(limit: int, now: datetime) -> Claim:
    """The oldest objects that nobody else has, at most ``limit``, with all their entries."""
    session = db_api.get_writer_session()
    try:
        return Claim(session, _lock(session, limit, now))
    except BaseException:
        session.rollback()
        session.close()
        raise


def _lock(session: Any, limit: int, now: datetime) -> dict[tuple[str, str], list[Any]]:
    due = sa.or_(_TABLE.c.retry_at.is_(None), _TABLE.c.retry_at <= now)
    connection = session.connection(execution_options=_isolation(session))
    first = sa.select(_TABLE).where(due).order_by(_TABLE.c.seq).limit(limit).with_for_update(skip_locked=True)
    identifiers = {row.object_id for row in connection.execute(first)}
    if not identifiers:
        return {}
    of_these = sa.select(_TABLE).where(_TABLE.c.object_id.in_(identifiers)).order_by(_TABLE.c.seq)
    ours: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in connection.execute(of_these.with_for_update(skip_locked=True)):
        ours[row.kind, row.object_id].append(row)
    held = {row.seq for rows in ours.values() for row in rows}
    others = {(row.kind, row.object_id) for row in connection.execute(of_these) if row.seq not in held}
    # an entry that was committed between the two queries counts as another's: its object comes with the next claim
    return {key: rows for key, rows in ours.items() if key not in others}


def _isolation(session: Any) -> dict[str, str]:
    """Each statement sees what is committed when it runs; SQLite has one writer and no such level."""
    return {} if session.get_bind().dialect.name == "sqlite" else {"isolation_level": "READ COMMITTED"}


def _places(rows: Sequence[Any]) -> frozenset[Place]:
    return frozenset((host, device) for row in rows for host, device in json.loads(row.places))


def depth() -> Depth:
    """How much waits now."""
    with db_api.CONTEXT_READER.using(n_context.get_admin_context()) as session:
        age = sa.func.now() - sa.func.min(_TABLE.c.created_at)
        if session.get_bind().dialect.name == "mysql":
            age = sa.func.timestampdiff(sa.text("SECOND"), sa.func.min(_TABLE.c.created_at), sa.func.now())
        count, oldest = session.execute(sa.select(sa.func.count(), age).select_from(_TABLE)).one()
    seconds = oldest.total_seconds() if isinstance(oldest, timedelta) else float(oldest or 0)
    return Depth(int(count), max(0.0, seconds))


def waiting() -> tuple[int, float]:
    """The same, as plain numbers."""
    found = depth()
    return found.entries, found.oldest_s


def journalled() -> set[tuple[str, str]]:
    """Kind and id of everything that waits."""
    with db_api.CONTEXT_READER.using(n_context.get_admin_context()) as session:
        return {(row.kind, row.object_id) for row in session.execute(sa.select(_TABLE.c.kind, _TABLE.c.object_id))}


def problems_of(keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Those of ``keys`` that wait, with the reason of their last failure (empty: not tried yet)."""
    query = sa.select(_TABLE.c.kind, _TABLE.c.object_id, _TABLE.c.problem)
    with db_api.CONTEXT_READER.using(n_context.get_admin_context()) as session:
        rows = session.execute(query.where(_TABLE.c.object_id.in_([identifier for _, identifier in keys])))
        return {(row.kind, row.object_id): row.problem for row in rows if (row.kind, row.object_id) in keys}
