"""The traces that events belong to."""

from __future__ import annotations

from kit.migrate import add_traceparents, drop_traceparents

revision = "0002_traces"
down_revision = "0001_gateway"


def upgrade() -> None:
    add_traceparents()


def downgrade() -> None:
    drop_traceparents()
