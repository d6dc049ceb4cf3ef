"""Each event is applied once: its id is written in the transaction of what it brings about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Index, Text, delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from kit import auth, trace
from kit.db import Base, CreateTime, Sessions, server_now
from kit.log import request_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from google.protobuf.message import Message
    from sqlalchemy.dialects.postgresql import Insert
    from sqlalchemy.ext.asyncio import AsyncSession

    # Each takes the message that it is registered for.
    Handler = Callable[[AsyncSession, Any], Awaitable[None]]

# Longer than the bus keeps events, so that none can come back after it was forgotten.
_KEEP = timedelta(days=8)
_MAX_ERROR_CHARACTERS = 2000


class InboxEvent(Base):
    """An event that was applied here."""

    __tablename__ = "inbox"
    __table_args__ = (Index("ix_inbox_create_time", "create_time"),)

    event_id: Mapped[str] = mapped_column(Text, primary_key=True)
    create_time: Mapped[CreateTime]


class DeadLetter(Base):
    """An event that could not be applied in all its deliveries; kept until a replay succeeds."""

    __tablename__ = "dead_letters"

    event_id: Mapped[str] = mapped_column(Text, primary_key=True)
    subject: Mapped[str]
    payload: Mapped[bytes]
    request_id: Mapped[str]
    traceparent: Mapped[str] = mapped_column(server_default="")
    error: Mapped[str]
    create_time: Mapped[CreateTime]


@dataclass(frozen=True)
class Letter:
    """One event as it came from the bus, or from the table of dead letters."""

    event_id: str
    subject: str
    payload: bytes
    request_id: str
    traceparent: str = ""

    @property
    def event_name(self) -> str:
        """The full proto name: the subject without the id of what the event is about."""
        return self.subject.rpartition(".")[0]


class Handlers:
    """Which function applies which event, for one service."""

    def __init__(self, by_class: dict[type[Message], Handler]) -> None:
        self._by_name = {
            message.DESCRIPTOR.full_name: (message, handler)
            for message, handler in by_class.items()
        }

    def __contains__(self, event_name: str) -> bool:
        return event_name in self._by_name

    async def apply(self, sessions: Sessions, letter: Letter, service: str) -> bool:
        """Apply an event in one transaction; return False if it had been applied before.

        The handler runs as the service itself, under the request id and in the trace that the event
        was emitted with.
        """
        request_id.set(letter.request_id)
        auth.act_as(auth.service_principal(service))
        span = trace.begin(f"apply {letter.event_name}", "consumer", letter.traceparent)
        with span:
            return await self._apply(sessions, letter)

    async def _apply(self, sessions: Sessions, letter: Letter) -> bool:
        message, handler = self._by_name[letter.event_name]
        async with sessions.begin() as session:
            fresh = await session.scalar(
                insert(InboxEvent)
                .values(event_id=letter.event_id)
                .on_conflict_do_nothing()
                .returning(InboxEvent.event_id)
            )
            if fresh:
                await handler(session, message.FromString(letter.payload))
            await session.execute(delete(DeadLetter).where(DeadLetter.event_id == letter.event_id))
        return fresh is not None


async def bury(sessions: Sessions, letter: Letter, error: str) -> None:
    """Keep an event that could not be applied, with the latest reason."""
    row = _dead(letter, error)
    async with sessions.begin() as session:
        await session.execute(
            row.on_conflict_do_update(
                index_elements=["event_id"], set_={"error": row.excluded.error}
            )
        )


async def expect_death(sessions: Sessions, letter: Letter) -> bool:
    """Bury an event before its last attempt, which deletes the row if the event is applied.

    Returns False for one that lies there already, so that its last attempt is over.
    """
    row = _dead(letter, "the process ended while applying this event")
    async with sessions.begin() as session:
        buried = await session.scalar(row.on_conflict_do_nothing().returning(DeadLetter.event_id))
    return buried is not None


def _dead(letter: Letter, error: str) -> Insert:
    return insert(DeadLetter).values(
        event_id=letter.event_id,
        subject=letter.subject,
        payload=letter.payload,
        request_id=letter.request_id,
        traceparent=letter.traceparent,
        error=error.replace("\x00", "")[:_MAX_ERROR_CHARACTERS],
    )


async def forget_old(sessions: Sessions) -> None:
    """Delete the ids of events that the bus has forgotten too."""
    async with sessions.begin() as session:
        await session.execute(
            delete(InboxEvent).where(InboxEvent.create_time < server_now() - _KEEP)
        )
