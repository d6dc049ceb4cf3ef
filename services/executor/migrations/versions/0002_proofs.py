"""CPU seconds, provenance of attempts, certificates of runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

_ID = sa.Uuid(as_uuid=False)
# The defaults stay: the release before inserts rows without these columns while this one starts.
_NO_SECONDS = {"server_default": "0", "nullable": False}


def upgrade() -> None:
    op.add_column("runs", sa.Column("cpu_s", sa.Double(), **_NO_SECONDS))
    op.add_column("runs", sa.Column("cpu_limit_s", sa.BigInteger(), **_NO_SECONDS))
    op.add_column("runs", sa.Column("cpu_limit_from_s", sa.Double(), **_NO_SECONDS))
    op.add_column("runs", sa.Column("certification_run_id", _ID))
    op.add_column(
        "runs", sa.Column("replayed_sha256", sa.Text(), server_default="", nullable=False)
    )
    op.add_column("jobs", sa.Column("cpu_s", sa.Double(), **_NO_SECONDS))
    op.create_table(
        "provenances",
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("commit", sa.Text(), nullable=False),
        sa.Column("is_dirty", sa.Boolean(), nullable=False),
        sa.Column("diff", sa.Text(), nullable=False),
        sa.Column("is_diff_truncated", sa.Boolean(), nullable=False),
        sa.Column("packages", postgresql.JSONB(), nullable=False),
        sa.Column("python_version", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("cpu_model", sa.Text(), nullable=False),
        sa.Column("cpu_count", sa.BigInteger(), nullable=False),
        sa.Column("torch_threads", sa.BigInteger(), nullable=False),
        sa.Column("gpu", sa.Text(), nullable=False),
        sa.Column("image_digest", sa.Text(), nullable=False),
        sa.Column(
            "create_time",
            sa.DateTime(timezone=True),
            server_default=sa.func.clock_timestamp(),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name="fk_provenances_run_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "attempt", name="pk_provenances"),
    )


def downgrade() -> None:
    op.drop_table("provenances")
    op.drop_column("jobs", "cpu_s")
    for column in (
        "replayed_sha256",
        "certification_run_id",
        "cpu_limit_from_s",
        "cpu_limit_s",
        "cpu_s",
    ):
        op.drop_column("runs", column)
