"""The traces that events and evaluations belong to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kit.migrate import add_traceparents, drop_traceparents

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    add_traceparents()
    column = sa.Column("traceparent", sa.Text(), server_default="", nullable=False)
    op.add_column("evaluations", column)


def downgrade() -> None:
    op.drop_column("evaluations", "traceparent")
    drop_traceparents()
