"""What the workers of a run are given, and how many they are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    # The defaults stay: the release before still inserts rows without these columns for a while.
    for name, kind, default in (
        ("cpus", sa.Double(), "0"),
        ("memory_bytes", sa.BigInteger(), "0"),
        ("gpus", sa.BigInteger(), "0"),
        ("worker_count", sa.BigInteger(), "1"),
    ):
        column = sa.Column(name, kind, server_default=default, nullable=False)
        op.add_column("runs", column)
    op.create_index(
        "ix_jobs_pending", "jobs", ["run_id"], postgresql_where=sa.text("state = 'PENDING'")
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_pending", "jobs")
    for name in ("worker_count", "gpus", "memory_bytes", "cpus"):
        op.drop_column("runs", name)
