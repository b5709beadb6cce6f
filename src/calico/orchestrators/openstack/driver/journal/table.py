"""The table ``calico_journal``. Rows are inserted in the transaction of the change that they tell of.

An entry says that an object is to be mirrored again, not how: whoever drains reads its present state. ``places`` is a
JSON list of [host, device id] at which a port has been, so that its endpoints there are found when it is there no more.
"""

from __future__ import annotations

import sqlalchemy as sa
from neutron_lib.db import model_base

__all__ = ["JournalEntry"]


class JournalEntry(model_base.BASEV2):
    """``seq`` grows with the insertions, not with the commits. ``retry_at`` is empty until a mirroring failed."""

    __tablename__ = "calico_journal"

    seq = sa.Column(sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True)
    kind = sa.Column(sa.String(32), nullable=False)
    object_id = sa.Column(sa.String(64), nullable=False, index=True)
    places = sa.Column(sa.Text, nullable=False, default="[]")
    created_at = sa.Column(sa.DateTime, nullable=False, server_default=sa.func.now())
    attempts = sa.Column(sa.Integer, nullable=False, default=0, server_default="0")
    retry_at = sa.Column(sa.DateTime, nullable=True)
    problem = sa.Column(sa.String(255), nullable=False, default="", server_default="")
