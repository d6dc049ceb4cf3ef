"""The traces that events belong to."""

from __future__ import annotations

from kit.migrate import add_traceparents, drop_traceparents

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    add_traceparents()


def downgrade() -> None:
    drop_traceparents()
