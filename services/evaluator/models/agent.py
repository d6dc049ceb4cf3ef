"""Agents, the submissions of their code, and the builds that make those playable."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from elodrome.evaluator.v1 import agent_pb2, events_pb2
from elodrome.executor.v1 import run_pb2, run_service_pb2
from sqlalchemy import Enum, ForeignKey, Index, LargeBinary, UniqueConstraint, select, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from kit import errors
from kit.db import Base, CreateTime, Id, Reference, UpdateTime
from kit.states import Machine
from services.evaluator.models.workload import ENDS, State, Workload, machine

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.auth import Principal

_RUN_LIMIT_S = 600
_MAX_RETRIES = 1
_RETRY_BACKOFF_S = 1.0


class SubmissionState(StrEnum):
    """Where a submission stands; the wire's names without their prefix."""

    PENDING = "PENDING"
    BUILDING = "BUILDING"
    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    BUILD_FAILED = "BUILD_FAILED"
    FAILED = "FAILED"


_BUILT = {SubmissionState.ACTIVE, SubmissionState.BUILD_FAILED, SubmissionState.FAILED}
MOVES: Machine[SubmissionState] = Machine(
    "submission",
    {
        # A build that no worker took up ends the wait too.
        SubmissionState.PENDING: {SubmissionState.BUILDING, SubmissionState.FAILED},
        SubmissionState.BUILDING: _BUILT,
        SubmissionState.ACTIVE: {SubmissionState.INACTIVE},
        SubmissionState.INACTIVE: {SubmissionState.ACTIVE},
        SubmissionState.BUILD_FAILED: {SubmissionState.PENDING},
        SubmissionState.FAILED: {SubmissionState.PENDING},
    },
)
PLAYABLE = frozenset({SubmissionState.ACTIVE, SubmissionState.INACTIVE})


class Agent(Base):
    """Somebody's named player of one game. The record counts completed matches."""

    __tablename__ = "agents"
    __table_args__ = (
        UniqueConstraint("owner_id", "game", "name"),
        Index("ix_agents_game_create_time", "game", "create_time"),
    )

    id: Mapped[Id]
    name: Mapped[str]
    description: Mapped[str]
    game: Mapped[str]
    owner_id: Mapped[Reference]
    newest_number: Mapped[int] = mapped_column(default=0)
    active_submission_id: Mapped[Reference | None]
    active_number: Mapped[int] = mapped_column(default=0)
    wins: Mapped[int] = mapped_column(default=0)
    losses: Mapped[int] = mapped_column(default=0)
    draws: Mapped[int] = mapped_column(default=0)
    create_time: Mapped[CreateTime]
    update_time: Mapped[UpdateTime]

    def count(self, score: float) -> None:
        """Add a completed match by its score: 1 won, 0.5 drawn, 0 lost."""
        if score == 1:
            self.wins += 1
        elif score == 0:
            self.losses += 1
        else:
            self.draws += 1

    def to_proto(self) -> agent_pb2.Agent:
        """Say it on the wire."""
        return agent_pb2.Agent(
            id=self.id,
            name=self.name,
            description=self.description,
            game=self.game,
            owner_id=self.owner_id,
            active_submission_id=self.active_submission_id or "",
            active_number=self.active_number,
            wins=self.wins,
            losses=self.losses,
            draws=self.draws,
            create_time=self.create_time,
            update_time=self.update_time,
        )


class Submission(Base):
    """One version of an agent's code, which never changes; only workers read the archive."""

    __tablename__ = "submissions"
    __table_args__ = (UniqueConstraint("agent_id", "number"),)

    id: Mapped[Id]
    agent_id: Mapped[Reference] = mapped_column(ForeignKey("agents.id"))
    number: Mapped[int]
    state: Mapped[SubmissionState] = mapped_column(
        Enum(SubmissionState, native_enum=False, length=16), default=SubmissionState.PENDING
    )
    sha256: Mapped[str]
    size_bytes: Mapped[int]
    same_as_id: Mapped[Reference | None]
    archive: Mapped[bytes] = mapped_column(LargeBinary(), deferred=True)
    build_id: Mapped[Reference]
    owner_id: Mapped[Reference]
    create_time: Mapped[CreateTime]
    update_time: Mapped[UpdateTime]

    # Only orders the inserts.
    agent: Mapped[Agent] = relationship(lazy="raise")

    def move(self, new: SubmissionState) -> None:
        """Move to another state; raises FAILED_PRECONDITION where there is no such move."""
        MOVES.check(self.state, new)
        self.state = new

    def check_playable(self) -> None:
        """Refuse one that was not built."""
        if self.state not in PLAYABLE:
            raise errors.failed_precondition(
                f"submission {self.number} is {self.state}",
                reason="SUBMISSION_NOT_PLAYABLE",
                state=self.state,
            )

    def to_proto(self, build: Build) -> agent_pb2.Submission:
        """Say it on the wire with its newest build."""
        return agent_pb2.Submission(
            id=self.id,
            agent_id=self.agent_id,
            number=self.number,
            state=f"SUBMISSION_STATE_{self.state}",
            sha256=self.sha256,
            size_bytes=self.size_bytes,
            same_as_id=self.same_as_id or "",
            build=build.to_proto(),
            owner_id=self.owner_id,
            create_time=self.create_time,
            update_time=self.update_time,
        )

    def to_event(self, error: str, finish_time: datetime | None) -> events_pb2.SubmissionBuilt:
        """Say what came of its build."""
        return events_pb2.SubmissionBuilt(
            submission_id=self.id,
            agent_id=self.agent_id,
            number=self.number,
            state=f"SUBMISSION_STATE_{self.state}",
            error=error,
            owner_id=self.owner_id,
            finish_time=finish_time,
        )


class Build(Workload, Base):
    """One attempt to make a submission playable. `code` is the rule that the archive breaks."""

    NOUN = "build"
    MOVES = machine(NOUN, ENDS)

    __tablename__ = "builds"
    __table_args__ = (
        UniqueConstraint("submission_id", "attempt"),
        Index("ix_builds_active", "id", postgresql_where=text("state IN ('PENDING','RUNNING')")),
        Index("ix_builds_owner_id_state", "owner_id", "state"),
    )

    submission_id: Mapped[Reference] = mapped_column(ForeignKey("submissions.id"))
    attempt: Mapped[int]
    code: Mapped[str] = mapped_column(default="")
    log: Mapped[str] = mapped_column(default="")

    submission: Mapped[Submission] = relationship(lazy="raise")

    def run_request(self) -> run_service_pb2.CreateRunRequest:
        """Return the run that checks and tries it, from the beginning each time."""
        return run_service_pb2.CreateRunRequest(
            request_id=self.id,
            name=f"build {self.attempt} of submission {self.submission_id[:8]}",
            type=run_pb2.RUN_TYPE_BUILD,
            config={"submission_id": self.submission_id, "build_id": self.id, "seats": 1},
            max_retries=_MAX_RETRIES,
            retry_backoff_s=_RETRY_BACKOFF_S,
            time_limit_s=_RUN_LIMIT_S,
        )

    def refuse(self, error: str, code: str, now: datetime) -> None:
        """End because the code is not playable; its run has done what it was to do."""
        self.end(State.FAILED, now, error)
        self.code = code
        self.stop_due = False

    def to_proto(self) -> agent_pb2.Build:
        """Say it on the wire."""
        return agent_pb2.Build(
            id=self.id,
            submission_id=self.submission_id,
            attempt=self.attempt,
            state=self.wire_state,
            error=self.error,
            code=self.code,
            log=self.log,
            run_id=self.run_id or "",
            create_time=self.create_time,
            start_time=self.start_time,
            finish_time=self.finish_time,
        )


async def get_agent(session: AsyncSession, agent_id: str, *, lock: bool = False) -> Agent:
    """Read an agent, locked for a change if asked; raise NOT_FOUND."""
    agent = await session.get(Agent, agent_id, with_for_update=lock or None)
    if agent is None:
        raise errors.not_found("agent", agent_id)
    return agent


async def own_agent(
    session: AsyncSession, agent_id: str, caller: Principal, *, lock: bool = False
) -> Agent:
    """Read an agent of the caller's; raise NOT_FOUND."""
    agent = await get_agent(session, agent_id, lock=lock)
    if not caller.owns(agent.owner_id):
        raise errors.not_found("agent", agent_id)
    return agent


async def own_submission(
    session: AsyncSession, submission_id: str, caller: Principal, *, lock: bool = False
) -> Submission:
    """Read a submission; somebody else's does not exist for the caller."""
    submission = await session.get(Submission, submission_id, with_for_update=lock or None)
    if submission is None or not caller.owns(submission.owner_id):
        raise errors.not_found("submission", submission_id)
    return submission


async def same_code(session: AsyncSession, agent_id: str, sha256: str) -> str | None:
    """Return the agent's first submission of the same bytes, if there is one."""
    query = (
        select(Submission.id)
        .where(Submission.agent_id == agent_id, Submission.sha256 == sha256)
        .order_by(Submission.number)
        .limit(1)
    )
    return await session.scalar(query)
