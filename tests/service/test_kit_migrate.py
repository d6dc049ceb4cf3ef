"""Migrations, and the tables that every service has."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from grpc_health.v1 import health_pb2
from sqlalchemy import MetaData, create_engine

from kit import migrate
from kit.inbox import DeadLetter, InboxEvent
from kit.outbox import OutboxEvent

if TYPE_CHECKING:
    from deploy.laptop.postgres import RunningPostgres

Environment = "Callable[[str], dict[str, Any]]"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def test_two_migrations_at_once_apply_each_step_once(postgres: RunningPostgres) -> None:
    url = postgres.url("sessions")
    migrate.downgrade(url, "sessions")
    environment = os.environ | {"ELODROME_DATABASE_URL": url}
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "kit.migrate", "sessions"],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in both:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said


def test_the_event_tables_are_what_their_classes_say(
    service_environment: Environment,
) -> None:
    classes = MetaData()
    for table in (OutboxEvent, InboxEvent, DeadLetter):
        table.__table__.to_metadata(classes)
    engine = create_engine(service_environment("evaluator")["database_url"])
    with engine.connect() as connection:
        options = {"include_name": lambda name, kind, _: kind != "table" or name in classes.tables}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, classes) == []
    engine.dispose()
