"""Taking turns: see ``driver/turn.py``."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "calico0002"
down_revision = "calico0001"


def upgrade() -> None:
    """Create the table."""
    op.create_table("calico_turns", sa.Column("name", sa.String(32), primary_key=True))
