"""Runs, their attempts, updates, logs and metrics."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from kit.migrate import create_event_tables, drop_event_tables

revision = "0001"
down_revision = None

_MOMENT = sa.DateTime(timezone=True)
_NOW = sa.func.clock_timestamp()
_ID = sa.Uuid(as_uuid=False)
_STATE = sa.String(16)


def upgrade() -> None:
    create_event_tables()
    _create_runs()
    _create_jobs()
    _create_log_lines()
    _create_metric_series()
    _create_run_heads()
    _create_run_updates()
    _create_metric_chunks()


def downgrade() -> None:
    op.drop_table("metric_chunks")
    op.drop_table("run_updates")
    op.drop_table("run_heads")
    op.drop_table("metric_series")
    op.drop_table("log_lines")
    op.drop_table("jobs")
    op.drop_table("runs")
    drop_event_tables()


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", _STATE, nullable=False),
        sa.Column("state", _STATE, nullable=False),
        sa.Column("requested_state", _STATE),
        sa.Column("requested_reason", sa.Text(), nullable=False),
        sa.Column("requested_time", _MOMENT),
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("request_id", _ID),
        sa.Column("request_hash", sa.Text(), nullable=False),
        sa.Column("config", postgresql.JSONB(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("game", sa.Text(), nullable=False),
        sa.Column("map_id", _ID),
        sa.Column("model_id", _ID),
        sa.Column("group", sa.Text(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("tags", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("parent_run_id", _ID),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("queue_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("failure_count", sa.BigInteger(), nullable=False),
        sa.Column("max_retries", sa.BigInteger(), nullable=False),
        sa.Column("retry_backoff_s", sa.Double(), nullable=False),
        sa.Column("time_limit_s", sa.BigInteger(), nullable=False),
        sa.Column("limit_from_s", sa.Double(), nullable=False),
        sa.Column("elapsed_s", sa.Double(), nullable=False),
        sa.Column("work_start_time", _MOMENT),
        sa.Column("current_iteration", sa.BigInteger(), nullable=False),
        sa.Column("max_iterations", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("steps_per_s", sa.Double(), nullable=False),
        sa.Column("iterations_per_s", sa.Double(), nullable=False),
        sa.Column("progress_time", _MOMENT),
        sa.Column("checkpoint_count", sa.BigInteger(), nullable=False),
        sa.Column("checkpoint_id", _ID),
        sa.Column("checkpoint_iteration", sa.BigInteger(), nullable=False),
        sa.Column("checkpoint_step", sa.BigInteger(), nullable=False),
        sa.Column("resumed_attempt", sa.BigInteger(), nullable=False),
        sa.Column("steps_lost", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("silent_after_time", _MOMENT),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.Column("update_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.Column("start_time", _MOMENT),
        sa.Column("end_time", _MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
    )
    op.create_index(
        "ix_runs_owner_id_create_time", "runs", ["owner_id", "create_time"], unique=False
    )
    op.create_index(
        "ix_runs_unsettled",
        "runs",
        ["state"],
        unique=False,
        postgresql_where=sa.text("state IN ('PENDING', 'RUNNING', 'PAUSED', 'INTERRUPTED')"),
    )
    op.create_index("uq_runs_owner_id_request_id", "runs", ["owner_id", "request_id"], unique=True)


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", _ID, nullable=False),
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("state", _STATE, nullable=False),
        sa.Column("outcome", _STATE),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("exit_code", sa.BigInteger()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("is_reported", sa.Boolean(), nullable=False),
        sa.Column("is_reaped", sa.Boolean(), nullable=False),
        sa.Column("log_offset_bytes", sa.BigInteger(), nullable=False),
        sa.Column("log_stored_bytes", sa.BigInteger(), nullable=False),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.Column("not_before_time", _MOMENT),
        sa.Column("launch_time", _MOMENT),
        sa.Column("start_time", _MOMENT),
        sa.Column("end_time", _MOMENT),
        sa.Column("expire_time", _MOMENT),
        sa.Column("terminate_time", _MOMENT),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_jobs_run_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("run_id", "attempt", name="uq_jobs_run_id_attempt"),
    )
    op.create_index(
        "ix_jobs_unreaped",
        "jobs",
        ["state"],
        unique=False,
        postgresql_where=sa.text("NOT is_reaped"),
    )


def _create_log_lines() -> None:
    op.create_table(
        "log_lines",
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("time", _MOMENT, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name="fk_log_lines_run_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "number", name="pk_log_lines"),
    )


def _create_metric_series() -> None:
    op.create_table(
        "metric_series",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("last_value", sa.Double(), nullable=False),
        sa.Column("point_count", sa.BigInteger(), nullable=False),
        sa.Column("nonfinite_count", sa.BigInteger(), nullable=False),
        sa.Column("min_value", sa.Double()),
        sa.Column("max_value", sa.Double()),
        sa.Column("value_sum", sa.Double(), nullable=False),
        sa.Column("update_time", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name="fk_metric_series_run_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_metric_series"),
        sa.UniqueConstraint("run_id", "name", name="uq_metric_series_run_id_name"),
    )


def _create_run_heads() -> None:
    op.create_table(
        "run_heads",
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("append_sequence", sa.BigInteger(), nullable=False),
        sa.Column("update_sequence", sa.BigInteger(), nullable=False),
        sa.Column("line_count", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name="fk_run_heads_run_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", name="pk_run_heads"),
    )


def _create_run_updates() -> None:
    op.create_table(
        "run_updates",
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("message", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name="fk_run_updates_run_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "sequence", name="pk_run_updates"),
    )


def _create_metric_chunks() -> None:
    op.create_table(
        "metric_chunks",
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("update_sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("series_id", sa.BigInteger(), nullable=False),
        sa.Column("first_step", sa.BigInteger(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("point_count", sa.BigInteger(), nullable=False),
        sa.Column("steps", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("values", postgresql.ARRAY(sa.Double()), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name="fk_metric_chunks_run_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["series_id"],
            ["metric_series.id"],
            name="fk_metric_chunks_series_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "update_sequence", "series_id", name="pk_metric_chunks"),
    )
    # Compressing random bits costs ten times what storing them does: measured 90,000 points/s
    # instead of 850,000 for chunks of 500 to 2,500 points, and saves 7 % of the space.
    op.execute(
        "ALTER TABLE metric_chunks"
        " ALTER steps SET STORAGE EXTERNAL, ALTER values SET STORAGE EXTERNAL"
    )
    op.create_index(
        "ix_metric_chunks_series_id_last_step",
        "metric_chunks",
        ["series_id", "last_step"],
        unique=False,
    )
