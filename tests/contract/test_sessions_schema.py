"""The migrations of sessions make exactly the tables that its classes map."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from kit import migrate
from kit.db import Base
from services.sessions import model

if TYPE_CHECKING:
    from deploy.laptop.postgres import RunningPostgres

OWN = {
    mapper.local_table.name
    for mapper in Base.registry.mappers
    if mapper.class_.__module__ == model.__name__
}


def is_own(_thing: Any, name: str | None, kind: str, *_: object) -> bool:
    return kind != "table" or name in OWN


def tables(connection: sa.Connection) -> set[str]:
    return set(sa.inspect(connection).get_table_names()) - {"alembic_version"}


def test_migrations_and_classes_agree_and_can_be_taken_back(postgres: RunningPostgres) -> None:
    url = postgres.url("sessions")
    migrate.upgrade(url, "sessions")
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            options = {"include_object": is_own, "compare_type": True}
            context = MigrationContext.configure(connection, opts=options)
            assert compare_metadata(context, Base.metadata) == []
            assert tables(connection) == OWN | {"outbox", "inbox", "dead_letters"}
        migrate.downgrade(url, "sessions")
        with engine.connect() as connection:
            assert tables(connection) == set()
    finally:
        engine.dispose()
        migrate.upgrade(url, "sessions")


def test_the_reaper_and_the_lists_find_rows_by_index(postgres: RunningPostgres) -> None:
    """No sequential scan where sessions are many."""
    url = postgres.url("sessions")
    migrate.upgrade(url, "sessions")
    an_id = uuid.uuid4()
    hot = (
        "SELECT * FROM sessions WHERE state = 'ACTIVE' ORDER BY idle_expire_time LIMIT 1",
        f"SELECT * FROM sessions WHERE owner_id = '{an_id}' ORDER BY create_time DESC",
        f"SELECT * FROM session_events WHERE session_id = '{an_id}' ORDER BY t_ms, sequence",
    )
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            connection.execute(sa.text("SET enable_seqscan = off"))
            for query in hot:
                plan = "\n".join(connection.scalars(sa.text(f"EXPLAIN {query}")))
                assert "Seq Scan" not in plan, plan
    finally:
        engine.dispose()
