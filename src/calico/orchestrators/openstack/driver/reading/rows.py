"""Asking Neutron's tables for many objects at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from neutron_lib import context as n_context
from neutron_lib.db import api as db_api
from neutron_lib.db import standard_attr
from sqlalchemy import select

__all__ = ["grouped", "reading", "revised", "where_in"]

_ATTRIBUTES = standard_attr.StandardAttribute.__table__


@contextmanager
def reading() -> Iterator[Any]:
    """A session whose transaction begins now, and so sees all that is committed by now."""
    with db_api.CONTEXT_READER.using(n_context.get_admin_context()) as session:
        yield session


def where_in(session: Any, table: Any, column: str, values: Iterable[str], *columns: Any) -> list[Any]:
    """The rows of ``table`` (or these ``columns`` of it) whose ``column`` is one of ``values``; no query for none."""
    wanted = sorted({value for value in values if value})
    if not wanted:
        return []
    return list(session.execute(select(*(columns or (table,))).where(table.c[column].in_(wanted))))


def grouped(rows: Iterable[Any], column: str) -> dict[str, list[Any]]:
    """Rows by a column of theirs; a list for what has none."""
    found: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        found[getattr(row, column)].append(row)
    return found


def revised(session: Any, table: Any, values: Iterable[str]) -> list[Any]:
    """As ``where_in`` for ids, with Neutron's ``revision_number`` of each."""
    wanted = sorted({value for value in values if value})
    if not wanted:
        return []
    joined = table.join(_ATTRIBUTES, table.c.standard_attr_id == _ATTRIBUTES.c.id)
    query = select(table, _ATTRIBUTES.c.revision_number).select_from(joined).where(table.c.id.in_(wanted))
    return list(session.execute(query))
