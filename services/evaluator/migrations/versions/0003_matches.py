"""Agents, submissions with their builds, matches with their seats and replays."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_MOMENT = sa.DateTime(timezone=True)
_NOW = sa.func.clock_timestamp()
_ACTIVE = sa.text("state IN ('PENDING','RUNNING')")


def upgrade() -> None:
    _create_agents()
    _create_submissions()
    _create_builds()
    _create_matches()


def _create_agents() -> None:
    op.create_table(
        "agents",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("game", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("newest_number", sa.BigInteger(), nullable=False),
        sa.Column("active_submission_id", sa.Uuid(), nullable=True),
        sa.Column("active_number", sa.BigInteger(), nullable=False),
        sa.Column("wins", sa.BigInteger(), nullable=False),
        sa.Column("losses", sa.BigInteger(), nullable=False),
        sa.Column("draws", sa.BigInteger(), nullable=False),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.Column("update_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_agents"),
        sa.UniqueConstraint("owner_id", "game", "name", name="uq_agents_owner_id_game_name"),
    )
    op.create_index("ix_agents_game_create_time", "agents", ["game", "create_time"])


def _create_submissions() -> None:
    op.create_table(
        "submissions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("same_as_id", sa.Uuid(), nullable=True),
        sa.Column("archive", sa.LargeBinary(), nullable=False),
        sa.Column("build_id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.Column("update_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name="fk_submissions_agent_id"),
        sa.PrimaryKeyConstraint("id", name="pk_submissions"),
        sa.UniqueConstraint("agent_id", "number", name="uq_submissions_agent_id_number"),
    )


def _workload_columns() -> list[sa.Column]:
    return [
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("run_owner_id", sa.Uuid(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("time_limit_s", sa.BigInteger(), nullable=False),
        sa.Column("traceparent", sa.Text(), server_default="", nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("stop_due", sa.Boolean(), nullable=False),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.Column("start_time", _MOMENT, nullable=True),
        sa.Column("finish_time", _MOMENT, nullable=True),
        sa.Column("update_time", _MOMENT, server_default=_NOW, nullable=False),
    ]


def _create_builds() -> None:
    op.create_table(
        "builds",
        *_workload_columns(),
        sa.Column("submission_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("log", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["submission_id"], ["submissions.id"], name="fk_builds_submission_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_builds"),
        sa.UniqueConstraint("submission_id", "attempt", name="uq_builds_submission_id_attempt"),
    )
    op.create_index("ix_builds_run_id", "builds", ["run_id"])
    op.create_index("ix_builds_owner_id_state", "builds", ["owner_id", "state"])
    op.create_index("ix_builds_active", "builds", ["id"], postgresql_where=_ACTIVE)


def _create_matches() -> None:
    op.create_table(
        "matches",
        *_workload_columns(),
        sa.Column("game", sa.Text(), nullable=False),
        sa.Column("environment_version", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("winner", sa.BigInteger(), nullable=True),
        sa.Column("steps", sa.BigInteger(), nullable=False),
        sa.Column("with_replay", sa.Boolean(), nullable=False),
        sa.Column("has_replay", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_matches"),
    )
    op.create_index("ix_matches_run_id", "matches", ["run_id"])
    op.create_index("ix_matches_active", "matches", ["id"], postgresql_where=_ACTIVE)
    op.create_index("ix_matches_owner_id_create_time", "matches", ["owner_id", "create_time"])
    op.create_index("ix_matches_game_create_time", "matches", ["game", "create_time"])
    op.create_table(
        "match_seats",
        sa.Column("match_id", sa.Uuid(), nullable=False),
        sa.Column("place", sa.SmallInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("builtin", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=True),
        sa.Column("agent_owner_id", sa.Uuid(), nullable=True),
        sa.Column("submission_id", sa.Uuid(), nullable=True),
        sa.Column("submission_number", sa.BigInteger(), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("fault", sa.SmallInteger(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("time_used_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["match_id"], ["matches.id"], name="fk_match_seats_match_id"),
        sa.PrimaryKeyConstraint("match_id", "place", name="pk_match_seats"),
    )
    op.create_index("ix_match_seats_agent_id", "match_seats", ["agent_id"])
    op.create_table(
        "replays",
        sa.Column("match_id", sa.Uuid(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.ForeignKeyConstraint(["match_id"], ["matches.id"], name="fk_replays_match_id"),
        sa.PrimaryKeyConstraint("match_id", name="pk_replays"),
    )


def downgrade() -> None:
    for table in ("replays", "match_seats", "matches", "builds", "submissions", "agents"):
        op.drop_table(table)
