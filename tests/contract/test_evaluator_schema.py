"""The evaluator's migrations make exactly the tables that its classes map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from kit import migrate
from kit.db import Base
from services.evaluator.models import checkpoint, evaluation, gate, suite

if TYPE_CHECKING:
    from deploy.laptop.postgres import RunningPostgres

OWN = {
    mapper.local_table.name
    for mapper in Base.registry.mappers
    if mapper.class_.__module__
    in {module.__name__ for module in (checkpoint, evaluation, gate, suite)}
}


def is_own(thing: Any, name: str | None, kind: str, *_: object) -> bool:
    return kind != "table" or name in OWN


def tables(connection: sa.Connection) -> set[str]:
    return set(sa.inspect(connection).get_table_names()) - {"alembic_version"}


def test_migrations_and_classes_agree_and_can_be_taken_back(postgres: RunningPostgres) -> None:
    url = postgres.url("evaluator")
    migrate.upgrade(url, "evaluator")
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            options = {"include_object": is_own, "compare_type": True}
            context = MigrationContext.configure(connection, opts=options)
            assert compare_metadata(context, Base.metadata) == []
            assert tables(connection) == OWN | {"outbox", "inbox", "dead_letters"}
        migrate.downgrade(url, "evaluator")
        with engine.connect() as connection:
            assert tables(connection) == set()
    finally:
        engine.dispose()
        migrate.upgrade(url, "evaluator")
