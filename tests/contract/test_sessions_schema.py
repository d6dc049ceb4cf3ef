"""What the sessions service asks often, Postgres finds by index."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import sqlalchemy as sa

from kit import migrate

if TYPE_CHECKING:
    from deploy.laptop.postgres import RunningPostgres


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
