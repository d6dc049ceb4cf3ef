"""A service starts on the tables that it was written for, and says so where they are older."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from psycopg.errors import UndefinedTable
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

WAIT_S = 30.0
"""How long a start waits for a migration, which may be under way."""

_POLL_S = 0.5
_REVISION = re.compile(r'^revision = "(\w+)"$', re.MULTILINE)
_SERVICES = Path(__file__).resolve().parents[1] / "services"

logger = structlog.get_logger("kit.schema")


class OutdatedSchemaError(Exception):
    """The tables are older than the program, or there are none."""


def versions_of(service: str) -> Path:
    """Return the directory with the migrations of a service."""
    return _SERVICES / service / "migrations" / "versions"


def revisions(service: str) -> list[str]:
    """Return the revisions that this release knows, oldest first."""
    files = sorted(versions_of(service).glob("[0-9]*.py"))
    texts = (path.read_text(encoding="utf-8") for path in files)
    return [found[1] for text in texts if (found := _REVISION.search(text))]


async def check(engine: AsyncEngine, service: str) -> None:
    """Raise OutdatedSchemaError unless the tables are those of this release or of a later one.

    A later one is of a release that is being rolled out or was rolled back: its migrations keep
    the tables usable for the release before.
    """
    try:
        async with engine.connect() as connection:
            found = await connection.scalar(text("SELECT version_num FROM alembic_version"))
    except ProgrammingError as error:
        if not isinstance(error.orig, UndefinedTable):
            raise
        found = None
    known = revisions(service)
    if found is None or found in known[:-1]:
        where = f"at revision {found}" if found else "empty"
        raise OutdatedSchemaError(
            f"the schema of {service} is {where}, and this release needs {known[-1]}: "
            f"migrate it with `python -m kit.migrate {service}`"
        )


async def wait(engine: AsyncEngine, service: str, within_s: float = WAIT_S) -> None:
    """Return once the tables will do; raise what `check` raises when the time is over."""
    give_up = asyncio.get_running_loop().time() + within_s
    while True:
        try:
            return await check(engine, service)
        except OutdatedSchemaError as error:
            if asyncio.get_running_loop().time() > give_up:
                raise
            logger.warning("waiting_for_migration", error=str(error))
            await asyncio.sleep(_POLL_S)
