"""Brings the schema of one service up to date: `python -m kit.migrate registry`.

Two at once are safe: the second waits for the advisory lock and then finds nothing to do.
"""

from __future__ import annotations

import argparse
import math
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic import command, op
from alembic.config import Config
from pydantic import ValidationError
from sqlalchemy.dialects import postgresql

from kit import log
from kit.db import TIMEOUT_S, async_url
from kit.schema import versions_of
from kit.settings import SERVICES, DatabaseSettings, explain

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).resolve().parent
_LOCK_WAIT = "120s"
# A migration runs while the service serves: better to fail than to queue everybody behind it.
_LOCK_TIMEOUT = "4s"
_STATEMENT_TIMEOUT = "60s"
_TRACED = ("outbox", "dead_letters")
_LOCK = "SELECT pg_advisory_lock(hashtextextended('elodrome.migrate.' || current_schema(), 0))"


def upgrade(url: str, service: str, revision: str = "head") -> None:
    """Apply the migrations of a service up to `revision` to the schema of the URL's role."""
    with _configured(url, service) as config:
        command.upgrade(config, revision)


def downgrade(url: str, service: str, revision: str = "base") -> None:
    """Take back the migrations of a service down to `revision`."""
    with _configured(url, service) as config:
        command.downgrade(config, revision)


@contextmanager
def _configured(url: str, service: str) -> Iterator[Config]:
    config = Config()
    config.set_main_option("script_location", str(_ROOT / "migrations"))
    config.set_main_option("version_locations", str(versions_of(service)))
    config.set_main_option("path_separator", "newline")
    engine = sa.create_engine(
        async_url(url),
        poolclass=sa.pool.NullPool,
        connect_args={"connect_timeout": math.ceil(TIMEOUT_S)},
    )
    with engine.connect() as connection:
        connection.execute(sa.text(f"SET statement_timeout = 0; SET lock_timeout = '{_LOCK_WAIT}'"))
        connection.execute(sa.text(_LOCK))
        connection.execute(
            sa.text(
                f"SET statement_timeout = '{_STATEMENT_TIMEOUT}';"
                f"SET lock_timeout = '{_LOCK_TIMEOUT}'"
            )
        )
        connection.commit()
        config.attributes["connection"] = connection
        yield config
    engine.dispose()


def create_event_tables() -> None:
    """Create the tables of outgoing, applied and undeliverable events; for a service's first."""
    now = sa.func.clock_timestamp()
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "outbox",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.BYTEA(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("create_time", moment, server_default=now, nullable=False),
        sa.Column("sent_time", moment),
        sa.Column("stream_sequence", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sa.UniqueConstraint("sequence", name="uq_outbox_sequence"),
    )
    op.create_index(
        "ix_outbox_unsent", "outbox", ["sequence"], postgresql_where=sa.text("sent_time IS NULL")
    )
    op.create_index(
        "ix_outbox_sent_time",
        "outbox",
        ["sent_time"],
        postgresql_where=sa.text("sent_time IS NOT NULL"),
    )
    op.create_table(
        "inbox",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("create_time", moment, server_default=now, nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_inbox"),
    )
    op.create_index("ix_inbox_create_time", "inbox", ["create_time"])
    op.create_table(
        "dead_letters",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.BYTEA(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("create_time", moment, server_default=now, nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_dead_letters"),
    )


def drop_event_tables() -> None:
    """Take back `create_event_tables`."""
    for table in ("dead_letters", "inbox", "outbox"):
        op.drop_table(table)


def add_traceparents() -> None:
    """Let outgoing and undeliverable events say which trace they belong to."""
    for table in _TRACED:
        column = sa.Column("traceparent", sa.Text(), server_default="", nullable=False)
        op.add_column(table, column)


def drop_traceparents() -> None:
    """Take back `add_traceparents`."""
    for table in _TRACED:
        op.drop_column(table, "traceparent")


def main() -> None:
    """Migrate the service named on the command line; its URL is ELODROME_DATABASE_URL."""
    parser = argparse.ArgumentParser(prog="python -m kit.migrate", description=__doc__)
    parser.add_argument("service", choices=SERVICES)
    parser.add_argument("--revision", default="head", help="stop after this one")
    arguments = parser.parse_args()
    try:
        url = DatabaseSettings.load().database_url
    except ValidationError as error:
        sys.exit(explain("migrations", error))
    log.configure(arguments.service)
    upgrade(url, arguments.service, arguments.revision)


if __name__ == "__main__":
    main()
