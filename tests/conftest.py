"""What every ring may use: a real Postgres, a real NATS and signing keys, one of each a process."""

from __future__ import annotations

import asyncio
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nats
import psycopg
import pytest

from deploy import bus
from deploy.laptop.broker import RunningBroker, start_nats
from deploy.laptop.postgres import RunningPostgres, start_postgres
from kit import auth, migrate
from tests.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def postgres() -> Iterator[RunningPostgres]:
    """A Postgres server of this test process, with the roles and schemas of an install."""
    settings = {"fsync": "off", "max_connections": "200"}
    # Not below pytest's own directory: another run of pytest closes that to Postgres' user.
    with tempfile.TemporaryDirectory(prefix="postgres-") as home:
        server = start_postgres(Path(home), settings=settings)
        yield server
        server.stop()


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """A NATS server of this test process, with the users, streams and consumers of an install."""
    server = start_nats(tmp_path_factory.mktemp("nats"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def keys_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The signing keys of every service, and the public set."""
    directory = tmp_path_factory.mktemp("keys")
    auth.generate_keys(directory)
    return directory


@pytest.fixture(scope="session")
def tokens(keys_dir: Path) -> Tokens:
    """Call metadata of any caller, signed by the service that would sign it."""
    return Tokens(keys_dir)


@pytest.fixture
def service_environment(
    postgres: RunningPostgres, nats_server: RunningBroker, keys_dir: Path, tmp_path: Path
) -> Callable[[str], dict[str, Any]]:
    """Return the settings of a service whose tables are migrated and empty."""

    _purge_streams(nats_server)

    def environment(service: str) -> dict[str, Any]:
        url = postgres.url(service)
        _migrate(url, service)
        _empty(postgres, service)
        return {
            "database_url": url,
            # A machine shared with others stands still for seconds now and then.
            "database_timeout_s": 20,
            "nats_url": nats_server.url,
            "nats_user": service,
            "nats_password": nats_server.password(service),
            "keys_dir": keys_dir,
            "artifacts_url": (tmp_path / "artifacts").as_uri(),
            "home": tmp_path,
            "grpc_port": 0,
            "metrics_port": 0,
            "reflection": True,
        }

    return environment


@cache
def _migrate(url: str, service: str) -> None:
    migrate.upgrade(url, service)


def _purge_streams(broker: RunningBroker) -> None:
    """Forget the events of earlier tests; in a thread, because a test's loop may be running."""

    async def purge() -> None:
        client = await nats.connect(
            broker.url,
            user=bus.ADMIN,
            password=broker.password(bus.ADMIN),
            inbox_prefix=bus.inbox_prefix(bus.ADMIN).encode(),
            allow_reconnect=False,
        )
        for stream in bus.STREAMS:
            await client.jsm().purge_stream(stream.name)
        await client.close()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, purge()).result(timeout=10)


def _empty(postgres: RunningPostgres, service: str) -> None:
    plain = postgres.url().replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(plain, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT format('%%I.%%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname = %s AND tablename <> 'alembic_version'",
            (service,),
        ).fetchall()
        if rows:
            connection.execute(
                f"TRUNCATE {', '.join(row[0] for row in rows)} RESTART IDENTITY CASCADE"
            )
