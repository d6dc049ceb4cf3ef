"""A match has one result, which its referee reports once; it counts for whoever played it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elodrome.evaluator.v1 import events_pb2, match_pb2
from elodrome.executor.v1 import run_pb2, run_service_pb2
from sqlalchemy import ForeignKey, Index, LargeBinary, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from kit import errors
from kit.db import Base, CreateTime, Reference
from services.evaluator.models.workload import ENDS, State, Workload, machine

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.auth import Principal

# Getting ready and the 300 s of play, with time to start and to report.
_RUN_LIMIT_S = 400
_MAX_NAME = 128


class MatchSeat(Base):
    """Who sits at one place of a match, and what came of it."""

    __tablename__ = "match_seats"
    __table_args__ = (Index("ix_match_seats_agent_id", "agent_id"),)

    match_id: Mapped[Reference] = mapped_column(ForeignKey("matches.id"), primary_key=True)
    place: Mapped[int] = mapped_column(SmallInteger(), primary_key=True)
    name: Mapped[str]
    builtin: Mapped[str] = mapped_column(default="")
    agent_id: Mapped[Reference | None]
    agent_owner_id: Mapped[Reference | None]
    submission_id: Mapped[Reference | None]
    submission_number: Mapped[int] = mapped_column(default=0)
    score: Mapped[float | None]
    fault: Mapped[int] = mapped_column(SmallInteger(), default=0)
    message: Mapped[str] = mapped_column(default="")
    time_used_s: Mapped[float] = mapped_column(default=0.0)

    def to_proto(self, viewer: Principal | None) -> match_pb2.MatchSeat:
        """Say it on the wire; what its code said is for its owner."""
        is_own = viewer is not None and viewer.owns(self.agent_owner_id)
        return match_pb2.MatchSeat(
            agent_id=self.agent_id,
            builtin=self.builtin or None,
            submission_id=self.submission_id or "",
            submission_number=self.submission_number,
            name=self.name,
            score=self.score,
            fault=match_pb2.MatchFault.Name(self.fault),
            message=self.message if is_own else "",
            time_used_s=self.time_used_s,
        )


class Match(Workload, Base):
    """One game between seats. `winner` is a place, None for a draw and before the end."""

    NOUN = "match"
    MOVES = machine(NOUN, {*ENDS, State.VOID})

    __tablename__ = "matches"
    __table_args__ = (
        Index("ix_matches_active", "id", postgresql_where=text("state IN ('PENDING','RUNNING')")),
        Index("ix_matches_owner_id_create_time", "owner_id", "create_time"),
        Index("ix_matches_game_create_time", "game", "create_time"),
    )

    game: Mapped[str]
    environment_version: Mapped[str] = mapped_column(default="")
    seed: Mapped[int]
    winner: Mapped[int | None]
    steps: Mapped[int] = mapped_column(default=0)
    with_replay: Mapped[bool] = mapped_column(default=True)
    has_replay: Mapped[bool] = mapped_column(default=False)

    seats: Mapped[list[MatchSeat]] = relationship(lazy="selectin", order_by=MatchSeat.place)

    def run_request(self) -> run_service_pb2.CreateRunRequest:
        """Return the run that plays it, which has one attempt: a match is not played twice."""
        names = " against ".join(seat.name for seat in self.seats)
        return run_service_pb2.CreateRunRequest(
            request_id=self.id,
            name=f"{self.game}: {names}"[:_MAX_NAME],
            type=run_pb2.RUN_TYPE_MATCH,
            config={
                "match_id": self.id,
                "seats": sum(seat.submission_id is not None for seat in self.seats),
            },
            max_retries=0,
            time_limit_s=_RUN_LIMIT_S,
        )

    def finish(self, winner: int | None, steps: int, now: datetime) -> None:
        """End with a result."""
        self.end(State.COMPLETED, now)
        self.winner = winner
        self.steps = steps

    def annul(self, reason: str, now: datetime) -> None:
        """End without a result, since the platform was at fault; its run ends by itself."""
        self.end(State.VOID, now, reason)
        self.stop_due = False

    def to_proto(self, viewer: Principal | None = None) -> match_pb2.Match:
        """Say it on the wire, as `viewer` may see it."""
        return match_pb2.Match(
            id=self.id,
            game=self.game,
            environment_version=self.environment_version,
            seats=[seat.to_proto(viewer) for seat in self.seats],
            seed=self.seed,
            state=self.wire_state,
            winner=self.winner,
            steps=self.steps,
            error=self.error,
            has_replay=self.has_replay,
            run_id=self.run_id or "",
            owner_id=self.owner_id,
            time_limit_s=self.time_limit_s,
            create_time=self.create_time,
            start_time=self.start_time,
            finish_time=self.finish_time,
            update_time=self.update_time,
        )

    def to_event(self) -> events_pb2.MatchFinished:
        """Say how it ended."""
        return events_pb2.MatchFinished(match=self.to_proto())


class Replay(Base):
    """What was played, step by step: gzip of one JSON document."""

    __tablename__ = "replays"

    match_id: Mapped[Reference] = mapped_column(ForeignKey("matches.id"), primary_key=True)
    sha256: Mapped[str]
    content: Mapped[bytes] = mapped_column(LargeBinary())
    create_time: Mapped[CreateTime]


async def get_match(session: AsyncSession, match_id: str, *, lock: bool = False) -> Match:
    """Read a match, locked for a change if asked; raise NOT_FOUND."""
    match = await session.get(Match, match_id, with_for_update=lock or None)
    if match is None:
        raise errors.not_found("match", match_id)
    return match
