"""Transactions that take turns: what one has checked holds until it is committed, for the next waits until then.

A row of the table ``calico_turns`` is locked; it is made by the first who needs it. Two that make it in the same
instant meet at its primary key: Neutron does the call of one of them again.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from neutron_lib.db import model_base

__all__ = ["SUBNETS", "Turn", "take_turn"]

SUBNETS = "subnets"
"""The turn of those who make subnets."""


class Turn(model_base.BASEV2):
    """Something that one transaction may do at a time."""

    __tablename__ = "calico_turns"

    name = sa.Column(sa.String(32), primary_key=True)


def take_turn(session: Any, name: str) -> None:
    """Wait until no other transaction has this turn, and keep it until ``session``'s own ends.

    SQLite knows no such locks, and needs none: it has one writer.
    """
    table = Turn.__table__
    if session.execute(sa.select(table).where(table.c.name == name).with_for_update()).first() is None:
        session.execute(table.insert().values(name=name))
