"""Sessions, their events and summaries, and the promotions heard of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from kit.migrate import create_event_tables, drop_event_tables

revision = "0001"
down_revision = None

_MOMENT = sa.DateTime(timezone=True)
_NOW = sa.func.clock_timestamp()


def upgrade() -> None:
    create_event_tables()
    op.create_table(
        "sessions",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid()),
        sa.Column("mode", sa.String(16), nullable=False),
        sa.Column("difficulty", sa.BigInteger(), nullable=False),
        sa.Column("opponent_style", sa.Text(), nullable=False),
        sa.Column("drill", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Uuid(), nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("version_number", sa.BigInteger(), nullable=False),
        sa.Column("checkpoint_id", sa.Uuid(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("styles", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("pin_source", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("end_reason", sa.Text(), nullable=False),
        sa.Column("score", sa.BigInteger()),
        sa.Column("event_count", sa.BigInteger(), nullable=False),
        sa.Column("latest_t_ms", sa.BigInteger(), nullable=False),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.Column("update_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.Column("end_time", _MOMENT),
        sa.Column("idle_expire_time", _MOMENT, nullable=False),
        sa.Column("expire_time", _MOMENT, nullable=False),
        sa.UniqueConstraint("owner_id", "request_id", name="uq_sessions_owner_id_request_id"),
    )
    op.create_index("ix_sessions_owner_id_create_time", "sessions", ["owner_id", "create_time"])
    op.create_index(
        "ix_sessions_active",
        "sessions",
        ["idle_expire_time"],
        postgresql_where=sa.text("state = 'ACTIVE'"),
    )
    op.create_table(
        "session_events",
        sa.Column("session_id", sa.Uuid(), sa.ForeignKey("sessions.id"), primary_key=True),
        sa.Column("sequence", sa.BigInteger(), primary_key=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("t_ms", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB(), nullable=False),
        sa.Column("late", sa.Boolean(), nullable=False),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.UniqueConstraint("session_id", "id", name="uq_session_events_session_id_id"),
    )
    op.create_index(
        "ix_session_events_session_id_t_ms", "session_events", ["session_id", "t_ms", "sequence"]
    )
    op.create_table(
        "session_summaries",
        sa.Column("session_id", sa.Uuid(), sa.ForeignKey("sessions.id"), primary_key=True),
        sa.Column("rules_version", sa.BigInteger(), nullable=False),
        sa.Column("document", postgresql.JSONB(), nullable=False),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
    )
    op.create_table(
        "known_promotions",
        sa.Column("model_id", sa.Uuid(), primary_key=True),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("version_number", sa.BigInteger(), nullable=False),
        sa.Column("checkpoint_id", sa.Uuid(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("promote_time", _MOMENT, nullable=False),
    )


def downgrade() -> None:
    for table in ("known_promotions", "session_summaries", "session_events", "sessions"):
        op.drop_table(table)
    drop_event_tables()
