"""What alembic runs: our migrations on Neutron's connection, with a version table of our own."""

from __future__ import annotations

from alembic import context
from neutron.db.migration.connection import DBConnection

_VERSIONS = "alembic_version_calico"


def _run() -> None:
    config = context.config
    database = config.neutron_config.database
    if context.is_offline_mode():
        named = {"url": database.connection} if database.connection else {"dialect_name": database.engine}
        context.configure(version_table=_VERSIONS, **named)
        with context.begin_transaction():
            context.run_migrations()
        return
    with DBConnection(database.connection, config.attributes.get("connection")) as connection:
        context.configure(connection=connection, version_table=_VERSIONS)
        with context.begin_transaction():
            context.run_migrations()


_run()
