"""Sessions and what they hold, with the rules of when they change."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from elodrome.sessions.v1 import events_pb2, session_pb2
from google.protobuf.json_format import MessageToDict, ParseDict
from sqlalchemy import Enum, ForeignKey, Index, UniqueConstraint, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

from kit import errors
from kit.db import Base, CreateTime, Id, Json, Reference, Time, UpdateTime, server_now
from kit.outbox import emit
from services.sessions.states import MACHINE, Mode, PinSource, State
from services.sessions.summary import summarize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncSession


class Session(Base):
    """One person playing one agent. The opponent is set at the start and never changes."""

    __tablename__ = "sessions"
    __table_args__ = (
        UniqueConstraint("owner_id", "request_id"),
        Index("ix_sessions_owner_id_create_time", "owner_id", "create_time"),
        # The reaper looks at active sessions alone; most are over.
        Index("ix_sessions_active", "idle_expire_time", postgresql_where=text("state = 'ACTIVE'")),
    )

    id: Mapped[Id]
    owner_id: Mapped[Reference]
    request_id: Mapped[Reference | None]
    mode: Mapped[Mode] = mapped_column(Enum(Mode, native_enum=False, length=16))
    difficulty: Mapped[int]
    opponent_style: Mapped[str]
    drill: Mapped[str]
    model_id: Mapped[Reference]
    model_name: Mapped[str]
    version_id: Mapped[Reference]
    version_number: Mapped[int]
    checkpoint_id: Mapped[Reference]
    sha256: Mapped[str]
    styles: Mapped[list[str]] = mapped_column(ARRAY(Text()))
    pin_source: Mapped[PinSource] = mapped_column(Enum(PinSource, native_enum=False, length=16))
    state: Mapped[State] = mapped_column(
        Enum(State, native_enum=False, length=16), default=State.ACTIVE
    )
    end_reason: Mapped[str] = mapped_column(default="")
    score: Mapped[int | None]
    event_count: Mapped[int] = mapped_column(default=0)
    latest_t_ms: Mapped[int] = mapped_column(default=0)
    create_time: Mapped[CreateTime]
    update_time: Mapped[UpdateTime]
    end_time: Mapped[Time | None]
    idle_expire_time: Mapped[Time]
    expire_time: Mapped[Time]

    def record(
        self, event: SessionEvent, *, now: datetime, idle_timeout_s: float, max_events: int
    ) -> None:
        """Give the event its place, and put off the idle end of the session.

        Raises FAILED_PRECONDITION when the session is over or full.
        """
        if self.state != State.ACTIVE:
            raise errors.failed_precondition(
                f"session {self.id} is {self.state} and takes no events",
                reason="SESSION_OVER",
                state=self.state,
            )
        if self.event_count >= max_events:
            raise errors.failed_precondition(
                f"session {self.id} holds {max_events} events, which is the most it may",
                reason="EVENT_LIMIT_REACHED",
                max_events=max_events,
            )
        self.event_count += 1
        event.session_id = self.id
        event.sequence = self.event_count
        event.late = event.t_ms < self.latest_t_ms
        self.latest_t_ms = max(self.latest_t_ms, event.t_ms)
        self.idle_expire_time = min(now + timedelta(seconds=idle_timeout_s), self.expire_time)

    def end(self, state: State, reason: str, score: int, *, now: datetime) -> None:
        """Move to ENDED or ABANDONED with the score that was decided.

        Raises FAILED_PRECONDITION, reason ILLEGAL_TRANSITION, when the session is over already.
        """
        MACHINE.check(self.state, state)
        self.state = state
        self.end_reason = reason
        self.score = score
        self.end_time = now

    def to_proto(self) -> session_pb2.Session:
        """Return the session as it goes over the wire."""
        proto = session_pb2.Session(
            id=self.id,
            owner_id=self.owner_id,
            mode=self.mode.wire_name,
            difficulty=self.difficulty,
            opponent_style=self.opponent_style,
            opponent=session_pb2.Opponent(
                model_id=self.model_id,
                model_name=self.model_name,
                version_id=self.version_id,
                version_number=self.version_number,
                checkpoint_id=self.checkpoint_id,
                sha256=self.sha256,
                styles=self.styles,
                source=self.pin_source.wire_name,
            ),
            drill=self.drill,
            state=self.state.wire_name,
            end_reason=self.end_reason,
            score=self.score,
            event_count=self.event_count,
            create_time=self.create_time,
            update_time=self.update_time,
            end_time=self.end_time,
            expire_time=self.expire_time,
        )
        if self.state == State.ACTIVE:
            proto.idle_expire_time.FromDatetime(self.idle_expire_time)
        return proto


class SessionEvent(Base):
    """One thing that happened while playing; never changed."""

    __tablename__ = "session_events"
    __table_args__ = (
        UniqueConstraint("session_id", "id"),
        Index("ix_session_events_session_id_t_ms", "session_id", "t_ms", "sequence"),
    )

    session_id: Mapped[Reference] = mapped_column(ForeignKey("sessions.id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[Reference]
    t_ms: Mapped[int]
    type: Mapped[str]
    payload: Mapped[Json]
    late: Mapped[bool] = mapped_column(default=False)
    create_time: Mapped[CreateTime]

    def repeats(self, stored: SessionEvent) -> bool:
        """Tell a repeat of a stored event from another event that took its id."""
        mine = (self.t_ms, self.type, self.payload)
        return mine == (stored.t_ms, stored.type, stored.payload)

    def to_proto(self) -> session_pb2.SessionEvent:
        """Return the event as it goes over the wire."""
        proto = session_pb2.SessionEvent(
            id=self.id,
            session_id=self.session_id,
            sequence=self.sequence,
            t_ms=self.t_ms,
            type=self.type,
            late=self.late,
            create_time=self.create_time,
        )
        proto.payload.update(self.payload)
        return proto


class SessionSummary(Base):
    """What a session came to, written with its end and never changed."""

    __tablename__ = "session_summaries"

    session_id: Mapped[Reference] = mapped_column(ForeignKey("sessions.id"), primary_key=True)
    rules_version: Mapped[int]
    document: Mapped[Json]
    create_time: Mapped[CreateTime]

    @classmethod
    def of(cls, outcome: session_pb2.SessionSummary) -> SessionSummary:
        """Return the row that keeps a summary."""
        return cls(
            session_id=outcome.session_id,
            rules_version=outcome.rules_version,
            document=MessageToDict(outcome, preserving_proto_field_name=True),
        )

    def to_proto(self) -> session_pb2.SessionSummary:
        """Return the summary as it goes over the wire."""
        proto = ParseDict(self.document, session_pb2.SessionSummary())
        proto.create_time.FromDatetime(self.create_time)
        return proto


class KnownPromotion(Base):
    """The newest promotion of a model that this service has heard of."""

    __tablename__ = "known_promotions"

    model_id: Mapped[Reference] = mapped_column(primary_key=True)
    model_name: Mapped[str]
    version_id: Mapped[Reference]
    version_number: Mapped[int]
    checkpoint_id: Mapped[Reference]
    sha256: Mapped[str]
    promote_time: Mapped[Time]


async def events_in_time_order(db: AsyncSession, session_id: str) -> Sequence[SessionEvent]:
    """Return all events of a session by t_ms, and by arrival where t_ms is the same."""
    query = select(SessionEvent).where(SessionEvent.session_id == session_id)
    ordered = query.order_by(SessionEvent.t_ms, SessionEvent.sequence)
    return (await db.scalars(ordered)).all()


async def finish(
    db: AsyncSession, row: Session, state: State, reason: str, *, claimed_score: int | None = None
) -> None:
    """End a session whose row is locked: decide its score, write its summary, tell the others.

    Raises FAILED_PRECONDITION, reason ILLEGAL_TRANSITION, when it is over already, and
    INVALID_ARGUMENT, reason SCORE_MISMATCH, when the events give another score than is claimed.
    """
    MACHINE.check(row.state, state)
    events = await events_in_time_order(db, row.id)
    # In a thread: ten thousand events take a tenth of a second, and others play meanwhile.
    outcome = await asyncio.to_thread(summarize, row.id, row.difficulty, events)
    if claimed_score is not None and claimed_score != outcome.score:
        raise errors.invalid_argument(
            "score",
            f"is {claimed_score}, but the events give {outcome.score}",
            reason="SCORE_MISMATCH",
            claimed=claimed_score,
            decided=outcome.score,
        )
    now = await clock(db)
    row.end(state, reason, outcome.score, now=now)
    db.add(SessionSummary.of(outcome))
    ended = events_pb2.SessionEnded(
        session_id=row.id,
        owner_id=row.owner_id,
        state=state.wire_name,
        model_id=row.model_id,
        version_id=row.version_id,
        score=outcome.score,
        event_count=outcome.event_count,
        play_time_s=outcome.play_time_s,
        end_time=now,
    )
    emit(db, ended, about=row.id)


async def clock(db: AsyncSession) -> datetime:
    """Return the time by the clock that judges deadlines: the database's."""
    return (await db.execute(select(server_now()))).scalar_one()
