"""Alembic's way in: it finds the connection that `SqlHistory.open` made."""

from __future__ import annotations

from alembic import context

from casework.adapters.sql_history.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
