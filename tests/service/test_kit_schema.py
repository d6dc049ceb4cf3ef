"""A service on tables that are older, or newer, than it is."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text

from kit import db, migrate, schema
from kit.settings import SERVICES
from tests.service.kit_program import program
from tests.waiting import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from deploy.laptop.postgres import RunningPostgres

    Environment = Callable[[str], dict[str, Any]]

SERVICE = "executor"


@contextmanager
def migrated_down(url: str, service: str, revision: str) -> Iterator[None]:
    migrate.downgrade(url, service, revision)
    try:
        yield
    finally:
        migrate.upgrade(url, service)


async def checked(url: str, service: str = SERVICE) -> None:
    engine = db.open_engine(url, pool_size=2)
    try:
        await schema.wait(engine, service, within_s=0)
    finally:
        await engine.dispose()


@pytest.mark.parametrize("service", SERVICES)
def test_the_revisions_are_those_of_alembic_in_their_order(service: str) -> None:
    script = ScriptDirectory(str(schema.versions_of(service).parent))
    script.version_locations = [str(schema.versions_of(service))]
    found = [each.revision for each in script.walk_revisions()]
    assert schema.revisions(service) == found[::-1]


async def test_tables_of_this_release_will_do(service_environment: Environment) -> None:
    await checked(service_environment(SERVICE)["database_url"])


async def test_older_tables_are_refused_with_both_revisions_and_what_to_do(
    service_environment: Environment,
) -> None:
    url, known = service_environment(SERVICE)["database_url"], schema.revisions(SERVICE)
    words = (
        f"the schema of {SERVICE} is at revision {known[-2]}, and this release needs {known[-1]}: "
        f"migrate it with `python -m kit.migrate {SERVICE}`"
    )
    with (
        migrated_down(url, SERVICE, known[-2]),
        pytest.raises(schema.OutdatedSchemaError, match=re.escape(words)),
    ):
        await checked(url)


async def test_a_schema_without_tables_is_refused(service_environment: Environment) -> None:
    url = service_environment(SERVICE)["database_url"]
    with (
        migrated_down(url, SERVICE, "base"),
        pytest.raises(schema.OutdatedSchemaError, match="the schema of executor is empty"),
    ):
        await checked(url)


async def test_tables_of_a_later_release_will_do(
    service_environment: Environment, postgres: RunningPostgres
) -> None:
    url = service_environment(SERVICE)["database_url"]
    engine = db.open_engine(url, pool_size=2)
    change = "UPDATE alembic_version SET version_num = :to"
    async with engine.begin() as connection:
        await connection.execute(text(change), {"to": "9999"})
    try:
        await checked(url)
    finally:
        async with engine.begin() as connection:
            await connection.execute(text(change), {"to": schema.revisions(SERVICE)[-1]})
        await engine.dispose()


def test_a_start_waits_for_a_migration_that_is_under_way(
    service_environment: Environment,
) -> None:
    environment = service_environment("evaluator") | {"nats_url": ""}
    lines: list[str] = []
    with (
        migrated_down(environment["database_url"], "evaluator", "base"),
        program("evaluator", environment) as started,
    ):
        assert started.stderr is not None
        for line in started.stderr:
            lines.append(line)
            if "waiting_for_migration" in line:
                break
        assert "python -m kit.migrate evaluator" in lines[-1]
        migrate.upgrade(environment["database_url"], "evaluator")
        eventually_sync(lambda: "serving" in started.stderr.readline())
