"""Events leave through a row written in the transaction of the change they report.

A relay, one at a time per schema, publishes the rows in order and marks them sent. A publish that
timed out may have been stored; it is repeated under the same id, which the bus and the consumers'
inbox recognise. Sent rows are kept for a day, so that a bus that lost its store can be refilled.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from sqlalchemy import (
    BigInteger,
    Identity,
    Index,
    delete,
    func,
    select,
    text,
    update,
)
from sqlalchemy.orm import Mapped, mapped_column

from kit import db, failpoint, trace
from kit.db import Base, CreateTime, Id, new_id, server_now
from kit.log import request_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.message import Message
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

MAX_PAYLOAD_BYTES = 256 << 10
POLL_S = 0.5

_BATCH = 100
_KEEP = timedelta(days=1)
_SWEEP_S = 600
_LEADER_POLL_S = 2
_LOCK = "SELECT pg_try_advisory_lock(hashtextextended('elodrome.outbox.' || current_schema(), 0))"
WAKE = "outbox.wake"
"""Key in a session's `info` of the asyncio.Event that its commits set when they hold events."""

_MARK = text("""
UPDATE outbox SET sent_time = clock_timestamp(), stream_sequence = stored.number
FROM unnest(CAST(:ids AS uuid[]), CAST(:numbers AS bigint[])) AS stored (id, number)
WHERE outbox.id = stored.id
""")

log = structlog.get_logger("kit.outbox")


class OutboxEvent(Base):
    """An event on its way to the bus; `sent_time` is empty until the bus has stored it."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index("ix_outbox_unsent", "sequence", postgresql_where=text("sent_time IS NULL")),
        Index("ix_outbox_sent_time", "sent_time", postgresql_where=text("sent_time IS NOT NULL")),
    )

    id: Mapped[Id]
    sequence: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)
    subject: Mapped[str]
    payload: Mapped[bytes]
    request_id: Mapped[str]
    traceparent: Mapped[str] = mapped_column(server_default="")
    create_time: Mapped[CreateTime]
    sent_time: Mapped[datetime | None]
    stream_sequence: Mapped[int | None]


_HIGHEST = select(func.max(OutboxEvent.stream_sequence))


def emit(session: AsyncSession, message: Message, *, about: str, origin: str = "") -> None:
    """Add an event to the session's transaction, under its full proto name and what it is about.

    `about` is the id of the thing that changed. `origin` is the trace that the event belongs to
    where none is at work, as in a loop. Raises ValueError for an event over 256 KiB: events
    carry ids and facts, not contents.
    """
    payload = message.SerializeToString()
    if len(payload) > MAX_PAYLOAD_BYTES:
        name = message.DESCRIPTOR.full_name
        raise ValueError(f"{name} has {len(payload)} bytes, more than {MAX_PAYLOAD_BYTES}")
    subject = f"{message.DESCRIPTOR.full_name}.{about}"
    session.add(
        OutboxEvent(
            id=new_id(),
            subject=subject,
            payload=payload,
            request_id=request_id.get(),
            traceparent=trace.current.get() or origin,
        )
    )
    if wake := session.info.get(WAKE):
        db.after_commit(session, wake.set)


class Publisher(Protocol):
    """The part of the bus the relay needs."""

    async def publish(
        self, subject: str, payload: bytes, *, event_id: str, request_id: str, traceparent: str
    ) -> int | None:
        """Store one event; return its number in the stream, or None if it was there already.

        Raises BusUnavailableError where it is not known to be stored.
        """
        ...


class BusUnavailableError(Exception):
    """The bus did not confirm that it stored an event; it may or may not have."""


class Relay:
    """Publishes the outbox of one schema for as long as it holds the schema's advisory lock."""

    def __init__(self, engine: AsyncEngine, publisher: Publisher, wake: asyncio.Event) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._publisher = publisher
        self._wake = wake
        self._highest = 0

    async def run(self) -> None:
        """Relay until cancelled; raises where the database fails, to be started again."""
        async with self._engine.connect() as connection:
            while not await connection.scalar(text(_LOCK)):  # noqa: ASYNC110 - held elsewhere
                await asyncio.sleep(_LEADER_POLL_S)
            try:
                self._highest = await connection.scalar(_HIGHEST) or 0
                await self._lead(connection)
            finally:
                # The lock belongs to the connection, which must not return to the pool with it.
                await connection.invalidate()

    async def _lead(self, connection: AsyncConnection) -> None:
        clock = asyncio.get_running_loop().time
        next_sweep = clock()
        backoff_s = POLL_S
        while True:
            self._wake.clear()
            if clock() >= next_sweep:
                await sweep(connection)
                next_sweep = clock() + _SWEEP_S
            try:
                if await self._send_batch(connection) == _BATCH:
                    continue
                backoff_s = POLL_S
            except BusUnavailableError as error:
                log.warning("publish_unconfirmed", error=str(error), retry_s=backoff_s)
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, 5)
                continue
            await _wait(self._wake, POLL_S)

    async def _send_batch(self, connection: AsyncConnection) -> int:
        rows = await unsent(connection, _BATCH)
        sent: dict[str, int | None] = {}
        try:
            for row in rows:
                failpoint.hit("outbox.before_publish")
                sequence = await self._publisher.publish(
                    row.subject,
                    row.payload,
                    event_id=row.id,
                    request_id=row.request_id,
                    traceparent=row.traceparent,
                )
                failpoint.hit("outbox.after_publish")
                sent[row.id] = sequence
                if sequence is not None:
                    await self._notice_loss(connection, sequence)
                    self._highest = sequence
        finally:
            # A relay that was cancelled within a statement has lost its connection, and marks
            # nothing: what it sent is sent again under the same ids.
            if sent and not connection.invalidated:
                await _mark_sent(connection, sent)
        return len(rows)

    async def _notice_loss(self, connection: AsyncConnection, sequence: int) -> None:
        """Publish again what the bus has lost: its numbers only fall when its store was wiped."""
        if sequence > self._highest:
            return
        lost = await connection.execute(
            update(OutboxEvent)
            .where(OutboxEvent.stream_sequence >= sequence)
            .values(sent_time=None, stream_sequence=None)
        )
        log.error("bus_lost_events", count=lost.rowcount, had=self._highest, has=sequence)


async def unsent(connection: AsyncConnection, limit: int) -> Sequence[Any]:
    """Return the oldest events that are not known to be stored, in order.

    Never "what comes after the last one sent": a sequence number is taken before commit, so a
    lower one can appear later.
    """
    columns = (
        OutboxEvent.id,
        OutboxEvent.subject,
        OutboxEvent.payload,
        OutboxEvent.request_id,
        OutboxEvent.traceparent,
    )
    rows = await connection.execute(
        select(*columns)
        .where(OutboxEvent.sent_time.is_(None))
        .order_by(OutboxEvent.sequence)
        .limit(limit)
    )
    return rows.all()


async def _mark_sent(connection: AsyncConnection, sent: dict[str, int | None]) -> None:
    """Note events as stored, with their numbers in the stream, in one statement.

    Not one statement for each: psycopg answers a cancellation in the middle of that with an error
    of its own.
    """
    await connection.execute(_MARK, {"ids": list(sent), "numbers": list(sent.values())})


async def sweep(connection: AsyncConnection) -> None:
    """Delete the events that were stored more than a day ago."""
    await connection.execute(
        delete(OutboxEvent).where(OutboxEvent.sent_time < server_now() - _KEEP)
    )


async def _wait(wake: asyncio.Event, limit_s: float) -> None:
    try:
        async with asyncio.timeout(limit_s):
            await wake.wait()
    except TimeoutError:
        return
