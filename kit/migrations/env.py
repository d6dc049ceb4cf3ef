"""Alembic's environment, one for all services: `kit.migrate` hands over a locked connection."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes.get("target_metadata"),
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
