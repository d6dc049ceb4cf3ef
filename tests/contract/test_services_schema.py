"""The migrations of every service make exactly the tables that its classes map."""

from __future__ import annotations

import importlib
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from kit import migrate, schema
from kit.db import Base
from kit.settings import SERVICES

if TYPE_CHECKING:
    from deploy.laptop.postgres import RunningPostgres

EVENT_TABLES = {"outbox", "inbox", "dead_letters"}
# Alembic's own, and what tests of the kit keep in the database of their process.
NOT_OURS = {"alembic_version", "kit_effects"}


def own_tables(service: str) -> set[str]:
    importlib.import_module(f"services.{service}.__main__")
    return {
        mapper.local_table.name
        for mapper in Base.registry.mappers
        if mapper.class_.__module__.startswith(f"services.{service}.")
    }


def tables(connection: sa.Connection) -> set[str]:
    return set(sa.inspect(connection).get_table_names()) - NOT_OURS


@pytest.mark.parametrize("service", SERVICES)
def test_migrations_and_classes_agree_and_can_be_taken_back(
    postgres: RunningPostgres, service: str
) -> None:
    own = own_tables(service)
    url = postgres.url(service)
    migrate.upgrade(url, service)
    engine = sa.create_engine(url)

    def is_own(_thing: object, name: str | None, kind: str, *_: object) -> bool:
        return kind != "table" or name in own

    try:
        with engine.connect() as connection:
            options = {"include_object": is_own, "compare_type": True}
            context = MigrationContext.configure(connection, opts=options)
            mapped = sa.MetaData(naming_convention=Base.metadata.naming_convention)
            for name in own:
                Base.metadata.tables[name].to_metadata(mapped)
            assert compare_metadata(context, mapped) == []
            assert tables(connection) == own | EVENT_TABLES
        migrate.downgrade(url, service)
        with engine.connect() as connection:
            assert tables(connection) == set()
    finally:
        engine.dispose()
        migrate.upgrade(url, service)


def columns(engine: sa.Engine) -> dict[tuple[str, str], Any]:
    """Return every column by table and name."""
    inspector = sa.inspect(engine)
    return {
        (table, column["name"]): column
        for table in inspector.get_table_names()
        for column in inspector.get_columns(table)
    }


LATER = [
    (service, revision) for service in SERVICES for revision in pairwise(schema.revisions(service))
]


@pytest.mark.parametrize(("service", "revision"), LATER)
def test_the_release_before_can_work_on_the_tables_of_the_next(
    postgres: RunningPostgres, service: str, revision: tuple[str, str]
) -> None:
    """Its pods go on serving while a migration is done, and come back with a rollback."""
    url = postgres.url(service)
    earlier, later = revision
    migrate.upgrade(url, service)
    migrate.downgrade(url, service, earlier)
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    try:
        before = columns(engine)
        migrate.upgrade(url, service, later)
        after = columns(engine)
        assert before.keys() <= after.keys()
        for name, column in before.items():
            assert str(after[name]["type"]) == str(column["type"]), name
            assert after[name]["nullable"] >= column["nullable"], name
        tables = {table for table, _ in before}
        for (table, name), column in after.items():
            is_new = table in tables and (table, name) not in before
            assert not is_new or column["nullable"] or column["default"], (table, name)
    finally:
        engine.dispose()
        migrate.upgrade(url, service)
