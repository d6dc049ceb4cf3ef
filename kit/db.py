"""Postgres: one declarative base, the column types everybody uses, and an engine that heals."""

from __future__ import annotations

import asyncio
import math
import os
import socket
import time
import uuid
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import psycopg
from sqlalchemy import (
    BigInteger,
    DateTime,
    LargeBinary,
    MetaData,
    Text,
    Uuid,
    event,
    exc,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column
from sqlalchemy.orm.exc import StaleDataError

from kit import errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy.engine.interfaces import AdaptedConnection
    from sqlalchemy.pool import ConnectionPoolEntry
    from sqlalchemy.sql.functions import Function

TIMEOUT_S = 2.0
"""How long anybody waits for a connection, unless told otherwise."""
BELIEVED_S = 0.5
"""How long after its last use a connection is taken for alive without asking it."""
_USED = "used_at"
_RECYCLE_S = 1800
_BUSY = {"55P03": "lock_timeout", "57014": "statement_timeout"}
_CONCURRENT = frozenset({"40001", "40P01"})


def new_id() -> str:
    """Return a random UUID in lower case."""
    return str(uuid.uuid4())


def server_now() -> Function[datetime]:
    """Return SQL for the database's clock, which moves on inside a transaction.

    Leases, deadlines and order in time are judged by this one clock, never by a service's own.
    """
    return func.clock_timestamp()


Id = Annotated[str, mapped_column(Uuid(as_uuid=False), primary_key=True, default=new_id)]
"""Primary key: a UUID as text, set at flush unless given."""
Reference = Annotated[str, mapped_column(Uuid(as_uuid=False))]
"""A UUID that points at something, here or in another service."""
Time = Annotated[datetime, mapped_column(DateTime(timezone=True))]
"""A moment, always with its zone."""
CreateTime = Annotated[
    datetime, mapped_column(DateTime(timezone=True), server_default=func.clock_timestamp())
]
"""When the row came to be, by the database's clock."""
UpdateTime = Annotated[
    datetime,
    mapped_column(
        DateTime(timezone=True),
        server_default=func.clock_timestamp(),
        onupdate=func.clock_timestamp(),
    ),
]
"""When the row last changed, by the database's clock."""
Json = Annotated[dict[str, Any], mapped_column(JSONB)]
"""A document that is stored and shown, never searched."""


class Base(DeclarativeBase):
    """The base of every mapped class. No class names a schema: the role's search_path does."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {
        str: Text(),
        int: BigInteger(),
        bytes: LargeBinary(),
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(),
    }
    # Values the server sets come back with the statement that set them; reading them later would
    # be a hidden query, which an async session refuses.
    __mapper_args__: ClassVar = {"eager_defaults": True}


def open_engine(url: str, *, pool_size: int = 10, timeout_s: float = TIMEOUT_S) -> AsyncEngine:
    """Return an engine whose pool opens up to `pool_size` connections, as they are needed.

    Nothing is connected yet. Waits are bounded: by `timeout_s` to connect, by a quarter more for a
    connection of the pool, by a quarter less for it to prove alive. So a database that is gone or
    hangs is told within 5 s, where `timeout_s` is 2.
    Statement and lock timeouts are settings of the database role.
    """
    engine = create_async_engine(
        async_url(url),
        pool_size=pool_size,
        # A connection that closes on return costs more than the wait for one that stays.
        max_overflow=0,
        pool_timeout=1.25 * timeout_s,
        pool_recycle=_RECYCLE_S,
        # The same few connections stay in use, so the server may close the others as idle.
        pool_use_lifo=True,
        connect_args={
            # Whole seconds are what libpq takes.
            "connect_timeout": math.ceil(timeout_s),
            "application_name": "elodrome",
            "options": "-c timezone=UTC",
            # A peer that vanished without a word is noticed after 5 s instead of hours.
            "keepalives_idle": 10,
            "keepalives_interval": 3,
            "keepalives_count": 2,
            "tcp_user_timeout": 5000,
        },
    )
    # The pool's own pre-ping would wait for a hanging server as long as its caller does.
    check = partial(_check, limit_s=0.75 * timeout_s)
    event.listen(engine.sync_engine, "checkout", check, named=True)
    event.listen(engine.sync_engine, "checkin", _note_use)
    return engine


def _check(
    *,
    dbapi_connection: AdaptedConnection,
    connection_record: ConnectionPoolEntry,
    limit_s: float,
    **_: object,
) -> None:
    """Let the pool replace a connection that no longer answers; one just used is believed."""
    if time.monotonic() - connection_record.info.get(_USED, -math.inf) < BELIEVED_S:
        return
    try:
        dbapi_connection.run_async(partial(_answer, limit_s=limit_s))
    except psycopg.Error as error:
        raise exc.DisconnectionError(str(error)) from error


def _note_use(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info[_USED] = time.monotonic()


async def _answer(connection: psycopg.AsyncConnection[object], *, limit_s: float) -> None:
    hang_up = asyncio.get_running_loop().call_later(limit_s, _hang_up, connection)
    before = connection.autocommit
    try:
        if not before:
            await connection.set_autocommit(True)
        await connection.execute("")
        if not before:
            await connection.set_autocommit(False)
    finally:
        hang_up.cancel()


def _hang_up(connection: psycopg.AsyncConnection[object]) -> None:
    """End whatever waits on a connection; psycopg itself would first ask the server politely."""
    with socket.socket(fileno=os.dup(connection.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)


def async_url(url: str) -> str:
    """Name the driver in a plain `postgresql://` URL."""
    scheme, separator, rest = url.partition("://")
    return f"postgresql+psycopg{separator}{rest}" if scheme == "postgresql" else url


class _ReadingSession(Session):
    """Reads without a transaction around it."""


@event.listens_for(_ReadingSession, "before_flush")
def _refuse_to_write(_session: Session, _context: object, _objects: object) -> None:
    raise RuntimeError("write in `sessions.begin()`; `sessions()` only reads")


_AFTER_COMMIT = "after_commit"


class Sessions:
    """Makes sessions: `begin()` for one transaction, a call for reading alone.

    Each statement sees what is committed when it starts, inside a transaction (READ COMMITTED) or
    outside. Reading outside saves the two round trips of BEGIN and ROLLBACK. Objects stay readable
    after commit. `info` is what every session carries in its own `info`.
    """

    def __init__(self, engine: AsyncEngine, info: dict[str, object] | None = None) -> None:
        options: dict[str, Any] = {"expire_on_commit": False, "info": info or {}}
        self._writing = async_sessionmaker(engine, **options)
        self._reading = async_sessionmaker(
            engine.execution_options(isolation_level="AUTOCOMMIT"),
            sync_session_class=_ReadingSession,
            **options,
        )

    def __call__(self) -> AsyncSession:
        """Return a session that reads."""
        return self._reading()

    def begin(self) -> AbstractAsyncContextManager[AsyncSession]:
        """Return a context of one transaction, committed at its end unless something is raised."""
        return self._writing.begin()


def after_commit(session: AsyncSession, do: Callable[[], None]) -> None:
    """Do something once the session's transaction is committed, and not at all if it is not."""
    session.info.setdefault(_AFTER_COMMIT, []).append(do)


@event.listens_for(Session, "after_commit")
def _do_what_waited(session: Session) -> None:
    for do in session.info.pop(_AFTER_COMMIT, ()):
        do()


@event.listens_for(Session, "after_rollback")
def _forget_what_waited(session: Session) -> None:
    session.info.pop(_AFTER_COMMIT, None)


async def ping(engine: AsyncEngine) -> None:
    """Ask the database for an answer within 2 s; raise what went wrong otherwise."""
    async with asyncio.timeout(TIMEOUT_S), engine.connect() as connection:
        await connection.execute(text("SELECT 1"))


def problem(error: Exception) -> errors.RpcError | None:
    """Say what the database's failure means to a caller; None for a bug, or no database error.

    UNAVAILABLE / DATABASE_UNAVAILABLE or DATABASE_BUSY may be repeated as it is;
    ABORTED / CONCURRENT_CHANGE is worth reading again first.
    """
    if isinstance(error, exc.TimeoutError):
        return errors.unavailable("the database is busy", reason="DATABASE_UNAVAILABLE")
    if isinstance(error, StaleDataError):
        return errors.aborted("somebody else changed this", reason="CONCURRENT_CHANGE")
    origin = error.orig if isinstance(error, exc.DBAPIError) else error
    if not isinstance(origin, psycopg.OperationalError | psycopg.InterfaceError):
        return None
    if origin.sqlstate in _CONCURRENT:
        return errors.aborted("somebody else changed this", reason="CONCURRENT_CHANGE")
    if origin.sqlstate in _BUSY:
        limit = _BUSY[origin.sqlstate]
        return errors.unavailable("the database is busy", reason="DATABASE_BUSY", limit=limit)
    return errors.unavailable("the database does not answer", reason="DATABASE_UNAVAILABLE")
