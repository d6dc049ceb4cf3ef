"""A run: what was asked for, where it stands and how far it is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from elodrome.executor.v1 import run_pb2
from sqlalchemy import Enum, Index, Text, Uuid, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, aliased, mapped_column

from kit import errors
from kit.db import Base, CreateTime, Id, Json, Time, UpdateTime
from services.executor.models.messages import stamp, struct
from services.executor.resources import Resources
from services.executor.states import SETTLED, RunState, RunType
from trainer import maps

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession

_SPEED_WINDOW_S = 30.0

state_type = Enum(RunState, native_enum=False, length=16)


class Run(Base):
    """Anything executed with a config and metrics. Every change happens under its row lock."""

    __tablename__ = "runs"
    __table_args__ = (
        Index("uq_runs_owner_id_request_id", "owner_id", "request_id", unique=True),
        Index("ix_runs_owner_id_create_time", "owner_id", "create_time"),
        # Most runs are settled; the reconciler looks at the others alone.
        Index(
            "ix_runs_unsettled",
            "state",
            postgresql_where=("state IN ('PENDING', 'RUNNING', 'PAUSED', 'INTERRUPTED')"),
        ),
    )

    id: Mapped[Id]
    name: Mapped[str]
    type: Mapped[RunType] = mapped_column(Enum(RunType, native_enum=False, length=16))
    state: Mapped[RunState] = mapped_column(state_type, default=RunState.PENDING)
    requested_state: Mapped[RunState | None] = mapped_column(state_type)
    requested_reason: Mapped[str] = mapped_column(default="")
    requested_time: Mapped[Time | None]
    owner_id: Mapped[str]
    request_id: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))
    request_hash: Mapped[str] = mapped_column(default="")
    config: Mapped[Json]
    seed: Mapped[int]
    game: Mapped[str] = mapped_column(default="")
    map_id: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))
    model_id: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))
    group: Mapped[str] = mapped_column(default="")
    notes: Mapped[str] = mapped_column(default="")
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text()), default=list)
    parent_run_id: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))
    priority: Mapped[int] = mapped_column(default=0)
    queue_time: Mapped[Time] = mapped_column(server_default=func.clock_timestamp())
    attempt: Mapped[int] = mapped_column(default=0)
    failure_count: Mapped[int] = mapped_column(default=0)
    max_retries: Mapped[int]
    retry_backoff_s: Mapped[float]
    time_limit_s: Mapped[int]
    limit_from_s: Mapped[float] = mapped_column(default=0.0)
    cpu_s: Mapped[float] = mapped_column(default=0.0)
    cpu_limit_s: Mapped[int] = mapped_column(default=0)
    cpu_limit_from_s: Mapped[float] = mapped_column(default=0.0)
    cpus: Mapped[float] = mapped_column(default=0.0)
    memory_bytes: Mapped[int] = mapped_column(default=0)
    gpus: Mapped[int] = mapped_column(default=0)
    worker_count: Mapped[int] = mapped_column(default=1)
    elapsed_s: Mapped[float] = mapped_column(default=0.0)
    work_start_time: Mapped[Time | None]
    current_iteration: Mapped[int] = mapped_column(default=0)
    max_iterations: Mapped[int] = mapped_column(default=0)
    step: Mapped[int] = mapped_column(default=0)
    phase: Mapped[str] = mapped_column(default="")
    steps_per_s: Mapped[float] = mapped_column(default=0.0)
    iterations_per_s: Mapped[float] = mapped_column(default=0.0)
    progress_time: Mapped[Time | None]
    checkpoint_count: Mapped[int] = mapped_column(default=0)
    checkpoint_id: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))
    checkpoint_iteration: Mapped[int] = mapped_column(default=0)
    checkpoint_step: Mapped[int] = mapped_column(default=0)
    resumed_attempt: Mapped[int] = mapped_column(default=0)
    steps_lost: Mapped[int] = mapped_column(default=0)
    reason: Mapped[str] = mapped_column(default="")
    last_error: Mapped[str] = mapped_column(default="")
    certification_run_id: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))
    replayed_sha256: Mapped[str] = mapped_column(default="")
    traceparent: Mapped[str] = mapped_column(default="", server_default="")
    silent_after_time: Mapped[Time | None]
    create_time: Mapped[CreateTime]
    update_time: Mapped[UpdateTime]
    start_time: Mapped[Time | None]
    end_time: Mapped[Time | None]

    @property
    def is_settled(self) -> bool:
        """Whether nothing is at work and nothing is due."""
        return self.state in SETTLED

    def worked_s(self, now: datetime) -> float:
        """Return the seconds in which a worker was at work, up to `now`."""
        if self.work_start_time is None:
            return self.elapsed_s
        return self.elapsed_s + max(0.0, (now - self.work_start_time).total_seconds())

    def time_left_s(self, now: datetime) -> float | None:
        """Return the seconds of work left before the time limit; None without a limit."""
        if not self.time_limit_s:
            return None
        return self.time_limit_s - (self.worked_s(now) - self.limit_from_s)

    @property
    def is_over_budget(self) -> bool:
        """Whether its workers used up the CPU seconds that they may."""
        return 0 < self.cpu_limit_s <= self.cpu_s - self.cpu_limit_from_s

    @property
    def resources(self) -> Resources:
        """What each of its workers is given."""
        return Resources(self.cpus, self.memory_bytes, self.gpus)

    def begin_work(self, now: datetime) -> None:
        """Start the clock of an attempt; its speed is measured anew."""
        self.work_start_time = now
        self.start_time = self.start_time or now
        self.progress_time = None

    def end_work(self, now: datetime) -> None:
        """Add the attempt's time to the total."""
        self.elapsed_s = self.worked_s(now)
        self.work_start_time = None
        self.steps_per_s = 0.0

    def advance(self, *, iteration: int, step: int, now: datetime) -> None:
        """Take over how far the worker is, and measure its speed as a moving average over 30 s."""
        if self.progress_time is not None:
            self._measure(iteration, step, (now - self.progress_time).total_seconds())
        elif step < self.step:
            # The attempt began anew without a checkpoint.
            self.steps_lost += self.step - step
        self.progress_time = now
        self.current_iteration = iteration
        self.step = step

    def _measure(self, iteration: int, step: int, seconds: float) -> None:
        if seconds <= 0:
            return
        weight = 1 - math.exp(-seconds / _SPEED_WINDOW_S)
        if not self.iterations_per_s and not self.steps_per_s:
            weight = 1.0
        iterations_per_s = max(0, iteration - self.current_iteration) / seconds
        steps_per_s = max(0, step - self.step) / seconds
        self.iterations_per_s += weight * (iterations_per_s - self.iterations_per_s)
        self.steps_per_s += weight * (steps_per_s - self.steps_per_s)

    def continue_from(self, iteration: int, step: int) -> None:
        """Count, once an attempt, what is done again because the worker resumed earlier."""
        if self.resumed_attempt == self.attempt:
            return
        self.steps_lost += max(0, self.step - step)
        self.resumed_attempt = self.attempt
        self.current_iteration = iteration
        self.step = step

    def keep_checkpoint(self, checkpoint_id: str, iteration: int, step: int) -> bool:
        """Remember the latest checkpoint; say whether it is a new one."""
        if checkpoint_id == self.checkpoint_id:
            return False
        self.checkpoint_id = checkpoint_id
        self.checkpoint_iteration = iteration
        self.checkpoint_step = step
        self.checkpoint_count += 1
        return True

    def progress(self, now: datetime) -> run_pb2.Progress:
        """Return how far the run is."""
        progress = run_pb2.Progress(
            current_iteration=self.current_iteration,
            max_iterations=self.max_iterations,
            progress_percent=self._percent(),
            elapsed_s=self.worked_s(now),
            steps_per_s=self.steps_per_s,
            phase=self.phase,
            step=self.step,
        )
        if self.max_iterations and self.iterations_per_s and not self.is_settled:
            left = max(0, self.max_iterations - self.current_iteration)
            progress.estimated_remaining_s = left / self.iterations_per_s
        return progress

    def _percent(self) -> float:
        if self.state is RunState.COMPLETED:
            return 100.0
        if not self.max_iterations:
            return 0.0
        return min(100.0, 100.0 * self.current_iteration / self.max_iterations)

    def latest_checkpoint(self) -> run_pb2.CheckpointRef | None:
        """Return the latest checkpoint; None before the first."""
        if self.checkpoint_id is None:
            return None
        return run_pb2.CheckpointRef(
            checkpoint_id=self.checkpoint_id,
            iteration=self.checkpoint_iteration,
            step=self.checkpoint_step,
        )

    def to_proto(
        self,
        now: datetime,
        *,
        latest_metrics: Mapping[str, float],
        queue_position: int,
        certificate: run_pb2.Certificate | None,
    ) -> run_pb2.Run:
        """Return the run as others see it at `now`."""
        requested = self.requested_state
        return run_pb2.Run(
            id=self.id,
            name=self.name,
            type=self.type.to_proto(),
            state=self.state.to_proto(),
            requested_state=requested.to_proto() if requested else None,
            owner_id=self.owner_id,
            config=struct(self.config),
            seed=self.seed,
            game=self.game,
            map_id=self.map_id,
            model_id=self.model_id,
            group=self.group,
            notes=self.notes,
            tags=self.tags,
            parent_run_id=self.parent_run_id,
            request_id=self.request_id,
            priority=self.priority,
            queue_position=queue_position,
            attempt=self.attempt,
            max_retries=self.max_retries,
            retry_backoff_s=self.retry_backoff_s,
            time_limit_s=self.time_limit_s,
            elapsed_s=self.worked_s(now),
            cpu_s=self.cpu_s,
            cpu_limit_s=self.cpu_limit_s,
            resources=self.resources.to_proto(),
            worker_count=self.worker_count,
            progress=self.progress(now),
            latest_metrics=latest_metrics,
            checkpoint_count=self.checkpoint_count,
            latest_checkpoint=self.latest_checkpoint(),
            is_resumed=self.resumed_attempt > 0,
            steps_lost=self.steps_lost,
            reason=self.reason,
            last_error=self.last_error,
            certificate=certificate,
            warnings=maps.warnings(self.config) if self.type is RunType.TRAINING else (),
            create_time=stamp(self.create_time),
            update_time=stamp(self.update_time),
            start_time=stamp(self.start_time),
            end_time=stamp(self.end_time),
        )


# NO KEY: a row that is added elsewhere with a reference to the run need not wait.
_LOCKED = aliased(
    Run,
    select(Run)
    .where(Run.id == bindparam("run_id"))
    .with_for_update(key_share=True)
    .subquery("locked_run"),
)
# The clock is read around the locking query, so only once the lock is held.
_LOCK = select(_LOCKED, func.clock_timestamp()).execution_options(populate_existing=True)


async def lock_run(session: AsyncSession, run_id: str) -> tuple[Run, datetime]:
    """Lock a run against every other change; return it with the database's time.

    Raises NOT_FOUND when there is no such run.
    """
    row = (await session.execute(_LOCK, {"run_id": run_id})).one_or_none()
    if row is None:
        raise errors.not_found("run", run_id)
    run, now = row
    return run, now


async def current_time(session: AsyncSession) -> datetime:
    """Return the database's time, the only clock that leases and limits go by."""
    now = await session.scalar(select(func.clock_timestamp()))
    assert now is not None
    return now
