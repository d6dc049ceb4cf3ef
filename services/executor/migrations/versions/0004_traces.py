"""The traces that events and runs belong to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kit.migrate import add_traceparents, drop_traceparents

revision = "0004_traces"
down_revision = "0003"


def upgrade() -> None:
    add_traceparents()
    column = sa.Column("traceparent", sa.Text(), server_default="", nullable=False)
    op.add_column("runs", column)


def downgrade() -> None:
    op.drop_column("runs", "traceparent")
    drop_traceparents()
