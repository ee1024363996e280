"""Runs migrations on the connection that the store hands over; there is no offline mode."""

from __future__ import annotations

from alembic import context

from fitment_controller.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
