"""The executor's migration makes exactly the tables its classes map, and takes them back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from kit import migrate
from kit.db import Base
from services.executor.models import job, log, metric, run, update

if TYPE_CHECKING:
    from deploy.laptop.postgres import RunningPostgres

MAPPED = (
    run.Run,
    job.Job,
    update.RunHead,
    update.RunUpdate,
    log.LogLine,
    metric.MetricSeries,
    metric.MetricChunk,
)


def test_the_migration_and_the_mapped_classes_agree(postgres: RunningPostgres) -> None:
    url = postgres.url("executor")
    migrate.upgrade(url, "executor")
    names = {mapped.__tablename__ for mapped in MAPPED}
    metadata = sa.MetaData(naming_convention=Base.metadata.naming_convention)
    for mapped in MAPPED:
        mapped.__table__.to_metadata(metadata)

    def is_own(_object: object, name: str | None, kind: str, *_rest: object) -> bool:
        return kind != "table" or name in names

    with sa.create_engine(url).connect() as connection:
        options = {"compare_type": True, "include_object": is_own}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def test_the_migration_can_be_taken_back(postgres: RunningPostgres) -> None:
    url = postgres.url("executor")
    migrate.upgrade(url, "executor")
    migrate.downgrade(url, "executor")
    with sa.create_engine(url).connect() as connection:
        assert set(sa.inspect(connection).get_table_names()) <= {"alembic_version"}
    migrate.upgrade(url, "executor")
