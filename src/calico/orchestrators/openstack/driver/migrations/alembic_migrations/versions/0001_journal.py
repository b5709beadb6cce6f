"""The journal."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "calico0001"
down_revision = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "calico_journal",
        sa.Column("seq", sa.BigInteger(), primary_key=True, autoincrement=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("object_id", sa.String(64), nullable=False),
        sa.Column("places", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False, server_default=sa.func.now()),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("retry_at", sa.DateTime(), nullable=True),
        sa.Column("problem", sa.String(255), nullable=False, server_default=""),
    )
    op.create_index("ix_calico_journal_object_id", "calico_journal", ["object_id"])
