"""Asking Neutron's tables for many objects at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, Final, Literal

from neutron_lib import context as n_context
from neutron_lib.db import api as db_api
from neutron_lib.db import standard_attr
from sqlalchemy import select

__all__ = ["EVERY", "Wanted", "every_or", "grouped", "reading", "revised", "where_in"]

_ATTRIBUTES = standard_attr.StandardAttribute.__table__


class _Every(Enum):
    EVERY = "every"


EVERY: Final = _Every.EVERY
"""In place of identifiers: all that the database has, asked for without naming them."""

Wanted = Iterable[str] | Literal[_Every.EVERY]
"""Identifiers of objects, or all."""


def every_or(wanted: Wanted) -> list[str] | Literal[_Every.EVERY]:
    """``wanted`` to be read more than once."""
    return EVERY if wanted is EVERY else list(wanted)


@contextmanager
def reading() -> Iterator[Any]:
    """A session whose transaction begins now, and so sees all that is committed by now."""
    with db_api.CONTEXT_READER.using(n_context.get_admin_context()) as session:
        yield session


def where_in(session: Any, table: Any, column: str, values: Wanted, *columns: Any) -> list[Any]:
    """The rows of ``table`` (or these ``columns`` of it) whose ``column`` is one of ``values``; no query for none."""
    return _ask(session, select(*(columns or (table,))), table.c[column], values)


def grouped(rows: Iterable[Any], column: str) -> dict[str, list[Any]]:
    """Rows by a column of theirs; a list for what has none."""
    found: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        found[getattr(row, column)].append(row)
    return found


def revised(session: Any, table: Any, values: Wanted) -> list[Any]:
    """As ``where_in`` for ids, with Neutron's ``revision_number`` of each."""
    joined = table.join(_ATTRIBUTES, table.c.standard_attr_id == _ATTRIBUTES.c.id)
    return _ask(session, select(table, _ATTRIBUTES.c.revision_number).select_from(joined), table.c.id, values)


def _ask(session: Any, query: Any, column: Any, values: Wanted) -> list[Any]:
    if values is EVERY:
        return list(session.execute(query.where(column.is_not(None))))
    wanted = sorted({value for value in values if value})
    return list(session.execute(query.where(column.in_(wanted)))) if wanted else []
