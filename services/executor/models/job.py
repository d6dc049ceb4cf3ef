"""A job: one leased execution of a run, the `attempt`-th."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elodrome.executor.v1 import run_pb2
from sqlalchemy import Enum, ForeignKey, Index, UniqueConstraint, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from kit.db import Base, CreateTime, Id, Time
from services.executor.models.messages import stamp
from services.executor.states import ACTIVE, AT_WORK, JobOutcome, JobState

if TYPE_CHECKING:
    from datetime import datetime

MAX_REASON_CHARACTERS = 4000


class Job(Base):
    """One attempt. Changed only under the row lock of its run."""

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("run_id", "attempt"),
        # The reconciler looks at jobs that have not ended or left something behind.
        Index("ix_jobs_unreaped", "state", postgresql_where="NOT is_reaped"),
        Index("ix_jobs_pending", "run_id", postgresql_where="state = 'PENDING'"),
    )

    id: Mapped[Id]
    run_id: Mapped[str] = mapped_column(
        Uuid(as_uuid=False), ForeignKey("runs.id", ondelete="CASCADE")
    )
    attempt: Mapped[int]
    state: Mapped[JobState] = mapped_column(
        Enum(JobState, native_enum=False, length=16), default=JobState.PENDING
    )
    outcome: Mapped[JobOutcome | None] = mapped_column(
        Enum(JobOutcome, native_enum=False, length=16)
    )
    epoch: Mapped[int] = mapped_column(default=0)
    exit_code: Mapped[int | None]
    reason: Mapped[str] = mapped_column(default="")
    is_reported: Mapped[bool] = mapped_column(default=False)
    is_reaped: Mapped[bool] = mapped_column(default=False)
    cpu_s: Mapped[float] = mapped_column(default=0.0)
    charged_s: Mapped[float] = mapped_column(default=0.0)
    """What the share of the owner was charged at launch, in seconds of workers."""
    log_offset_bytes: Mapped[int] = mapped_column(default=0)
    log_stored_bytes: Mapped[int] = mapped_column(default=0)
    create_time: Mapped[CreateTime]
    not_before_time: Mapped[Time | None]
    launch_time: Mapped[Time | None]
    start_time: Mapped[Time | None]
    end_time: Mapped[Time | None]
    expire_time: Mapped[Time | None]
    terminate_time: Mapped[Time | None]

    @property
    def name(self) -> str:
        """What the driver calls the attempt; the same for every launch of it."""
        return f"{self.id}-a{self.attempt}"

    @property
    def is_active(self) -> bool:
        """Whether the attempt has not ended."""
        return self.state in ACTIVE

    @property
    def is_at_work(self) -> bool:
        """Whether the attempt occupies a slot."""
        return self.state in AT_WORK

    def use_cpu(self, seconds: float) -> float:
        """Take over the CPU seconds used so far; return how many came on top, never less than 0."""
        added_s = max(0.0, seconds - self.cpu_s)
        self.cpu_s += added_s
        return added_s

    def end(
        self, outcome: JobOutcome, reason: str, *, exit_code: int | None, now: datetime
    ) -> None:
        """Fill in how the attempt ended."""
        self.state = outcome.job_state
        self.outcome = outcome
        self.reason = reason[:MAX_REASON_CHARACTERS]
        self.exit_code = exit_code
        self.end_time = now
        self.expire_time = None

    def to_proto(self) -> run_pb2.Job:
        """Return the job as others see it."""
        outcome = self.outcome
        return run_pb2.Job(
            id=self.id,
            run_id=self.run_id,
            attempt=self.attempt,
            state=self.state.to_proto(),
            outcome=outcome.to_proto() if outcome else run_pb2.JOB_OUTCOME_UNSPECIFIED,
            epoch=self.epoch,
            exit_code=self.exit_code,
            reason=self.reason,
            driver_ref=self.name,
            create_time=stamp(self.create_time),
            not_before_time=stamp(self.not_before_time),
            start_time=stamp(self.start_time),
            end_time=stamp(self.end_time),
            expire_time=stamp(self.expire_time),
            cpu_s=self.cpu_s,
        )
