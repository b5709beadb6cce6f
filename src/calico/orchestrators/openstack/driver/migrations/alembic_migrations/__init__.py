"""The driver's branch of alembic."""
