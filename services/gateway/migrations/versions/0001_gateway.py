"""Accounts, keys, the audit record, and what the edge counts and remembers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from kit.migrate import create_event_tables, drop_event_tables

if TYPE_CHECKING:
    from uuid import UUID

revision = "0001_gateway"
down_revision = None
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_NOW = sa.func.clock_timestamp()


def upgrade() -> None:
    create_event_tables()
    _create_accounts()
    _create_credentials()
    _create_audit()
    _create_counters()


def downgrade() -> None:
    for table in (
        "idempotency_keys",
        "login_failures",
        "rate_windows",
        "audit_entries",
        "stream_tickets",
        "api_keys",
        "refresh_tokens",
        "sign_ins",
        "users",
    ):
        op.drop_table(table)
    op.execute("DROP FUNCTION refuse_change()")
    drop_event_tables()


def _create_accounts() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("username_key", sa.Text(), nullable=False),
        sa.Column("full_name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("last_login_time", _MOMENT),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.Column("update_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.UniqueConstraint("email", name="uq_users_email"),
        sa.UniqueConstraint("username_key", name="uq_users_username_key"),
        sa.CheckConstraint(
            "role IN ('ADMIN', 'OPERATOR', 'USER', 'VIEWER', 'PLAYER')", name="ck_users_role"
        ),
    )


def _create_credentials() -> None:
    op.create_table(
        "sign_ins",
        sa.Column("id", sa.Uuid(), primary_key=True),
        _user_column("user_id", "sign_ins"),
        sa.Column("ip_address", sa.Text(), nullable=False),
        sa.Column("user_agent", sa.Text(), nullable=False),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.Column("expire_time", _MOMENT, nullable=False),
        sa.Column("revoke_time", _MOMENT),
    )
    op.create_index("ix_sign_ins_user_id", "sign_ins", ["user_id"])
    op.create_table(
        "refresh_tokens",
        sa.Column("token_hash", sa.Text(), primary_key=True),
        sa.Column(
            "sign_in_id",
            sa.Uuid(),
            sa.ForeignKey("sign_ins.id", name="fk_refresh_tokens_sign_in_id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.Column("expire_time", _MOMENT, nullable=False),
        sa.Column("use_time", _MOMENT),
    )
    op.create_index("ix_refresh_tokens_sign_in_id", "refresh_tokens", ["sign_in_id"])
    op.create_index("ix_refresh_tokens_expire_time", "refresh_tokens", ["expire_time"])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), primary_key=True),
        _user_column("owner_id", "api_keys"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("last_used_time", _MOMENT),
        sa.Column("expire_time", _MOMENT),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.UniqueConstraint("key_hash", name="uq_api_keys_key_hash"),
    )
    op.create_index("ix_api_keys_owner_id", "api_keys", ["owner_id"])
    op.create_table(
        "stream_tickets",
        sa.Column("ticket_hash", sa.Text(), primary_key=True),
        _user_column("user_id", "stream_tickets"),
        sa.Column("sign_in_id", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("expire_time", _MOMENT, nullable=False),
        sa.Column("use_time", _MOMENT),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
    )
    op.create_index("ix_stream_tickets_expire_time", "stream_tickets", ["expire_time"])


def _user_column(name: str, table: str) -> sa.Column[UUID]:
    reference = sa.ForeignKey("users.id", name=f"fk_{table}_{name}", ondelete="CASCADE")
    return sa.Column(name, sa.Uuid(), reference, nullable=False)


def _create_audit() -> None:
    words = (
        "actor_kind",
        "actor_id",
        "api_key_id",
        "action",
        "method",
        "path",
        "resource_type",
        "resource_id",
        "reason",
        "request_id",
        "ip_address",
    )
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        *(sa.Column(word, sa.Text(), nullable=False) for word in words),
        sa.Column("http_status", sa.BigInteger(), nullable=False),
        sa.Column("before", postgresql.JSONB()),
        sa.Column("after", postgresql.JSONB()),
    )
    for columns in (
        ["create_time", "id"],
        ["actor_id", "create_time"],
        ["resource_id", "create_time"],
    ):
        op.create_index(f"ix_audit_entries_{'_'.join(columns)}", "audit_entries", columns)
    op.execute(
        "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'audit entries are never changed'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_entries_append_only BEFORE UPDATE OR DELETE ON audit_entries "
        "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
    )


def _create_counters() -> None:
    op.create_table(
        "rate_windows",
        sa.Column("bucket", sa.Text(), primary_key=True),
        sa.Column("window_end", sa.BigInteger(), primary_key=True),
        sa.Column("used", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_rate_windows_window_end", "rate_windows", ["window_end"])
    op.create_table(
        "login_failures",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("account_key", sa.Text(), nullable=False),
        sa.Column("ip_address", sa.Text(), nullable=False),
        sa.Column("is_judged", sa.Boolean(), nullable=False),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
    )
    for column in ("account_key", "ip_address"):
        columns = [column, "create_time"]
        op.create_index(f"ix_login_failures_{'_'.join(columns)}", "login_failures", columns)
    op.create_table(
        "idempotency_keys",
        sa.Column("principal", sa.Text(), primary_key=True),
        sa.Column("key_hash", sa.Text(), primary_key=True),
        sa.Column("request_hash", sa.Text(), nullable=False),
        sa.Column("lock_time", _MOMENT, nullable=False),
        sa.Column("http_status", sa.BigInteger()),
        sa.Column("body", sa.LargeBinary()),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
    )
    op.create_index("ix_idempotency_keys_create_time", "idempotency_keys", ["create_time"])
