"""An evaluation moves by its table of states, only forward, and never after it has ended."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from elodrome.evaluator.v1 import evaluation_pb2, events_pb2
from elodrome.executor.v1 import run_pb2, run_service_pb2
from sqlalchemy import CheckConstraint, Enum, ForeignKey, Index, UniqueConstraint, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from kit import errors
from kit.db import Base, CreateTime, Id, Json, Reference
from services.evaluator.models.workload import ACTIVE, ENDS, State, Workload, machine

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.auth import Principal


class Trigger(StrEnum):
    """What asked for an evaluation."""

    REQUEST = "REQUEST"
    CHECKPOINT = "CHECKPOINT"
    RERUN = "RERUN"


MAX_VALUE = 1e12
"""Largest size of a metric's value."""
_MAX_RETRIES = 2
_RETRY_BACKOFF_S = 2.0
_STATES = ", ".join(f"'{state}'" for state in (*ACTIVE, *sorted(ENDS)))


class Evaluation(Workload, Base):
    """One subject playing one suite version.

    Its run is started for the owner of the checkpoint, who may read it.
    """

    NOUN = "evaluation"
    MOVES = machine(NOUN, ENDS)

    __tablename__ = "evaluations"
    __table_args__ = (
        CheckConstraint(f"state IN ({_STATES})", name="state"),
        CheckConstraint("(checkpoint_id IS NULL) <> (agent = '')", name="one_subject"),
        Index(
            "ix_evaluations_active", "id", postgresql_where=text("state IN ('PENDING','RUNNING')")
        ),
        Index("ix_evaluations_stop_due", "id", postgresql_where=text("stop_due")),
        Index("ix_evaluations_subject", "suite_version_id", "checkpoint_sha256", "agent"),
        Index("ix_evaluations_owner_id_create_time", "owner_id", "create_time"),
    )

    suite_id: Mapped[Reference]
    suite_name: Mapped[str]
    suite_version: Mapped[int]
    suite_version_id: Mapped[Reference] = mapped_column(ForeignKey("suite_versions.id"))
    checkpoint_id: Mapped[Reference | None] = mapped_column(index=True)
    checkpoint_sha256: Mapped[str] = mapped_column(default="")
    agent: Mapped[str] = mapped_column(default="")
    episodes_done: Mapped[int] = mapped_column(default=0)
    episodes_total: Mapped[int]
    results: Mapped[Json | None]
    bootstrap_seed: Mapped[int]
    source_evaluation_id: Mapped[Reference | None]
    rerun_of_id: Mapped[Reference | None]
    trigger: Mapped[Trigger] = mapped_column(
        Enum(Trigger, native_enum=False, length=16), default=Trigger.REQUEST
    )
    environment_version: Mapped[str] = mapped_column(default="")

    @property
    def percent(self) -> int:
        """Episodes recorded, in percent, rounded down so that 100 means all."""
        return self.episodes_done * 100 // self.episodes_total

    @property
    def episodes_id(self) -> str:
        """The evaluation whose episodes count: the source of a cached one, else itself."""
        return self.source_evaluation_id or self.id

    @property
    def episodes_left(self) -> int:
        """Episodes that are not recorded yet."""
        return self.episodes_total - self.episodes_done

    @property
    def unfinished(self) -> str:
        """How many episodes there are."""
        return f"after {self.episodes_done} of {self.episodes_total} episodes"

    def run_request(self) -> run_service_pb2.CreateRunRequest:
        """Return the run that plays it; what was recorded is not played again."""
        return run_service_pb2.CreateRunRequest(
            request_id=self.id,
            name=f"{self.suite_name} v{self.suite_version}",
            type=run_pb2.RUN_TYPE_EVALUATION,
            config={"evaluation_id": self.id},
            max_retries=_MAX_RETRIES,
            retry_backoff_s=_RETRY_BACKOFF_S,
            time_limit_s=self.time_limit_s,
        )

    def claim(self, worker: Principal, environment_version: str, now: datetime) -> None:
        """Let a worker take it up; one engine plays all of its episodes."""
        self.admit(worker)
        if self.episodes_done and environment_version != self.environment_version:
            raise errors.failed_precondition(
                f"it was begun by {self.environment_version} and cannot go on in "
                f"{environment_version}; run it again",
                reason="ENGINE_CHANGED",
                begun=self.environment_version,
                now=environment_version,
            )
        self.environment_version = environment_version
        self.take_up(now)

    def count_episodes(self, stored: int) -> None:
        """Add newly recorded episodes."""
        if stored:
            self.episodes_done += stored
            self.revision += 1

    def check_recorded(self) -> None:
        """Refuse to end while episodes are missing."""
        if self.episodes_done < self.episodes_total:
            raise errors.failed_precondition(
                f"{self.episodes_done} of {self.episodes_total} episodes are recorded",
                reason="EPISODES_MISSING",
                episodes_done=self.episodes_done,
                episodes_total=self.episodes_total,
            )

    def complete(self, results: dict[str, Any], now: datetime) -> None:
        """End with results; every episode must be recorded."""
        self.check_recorded()
        self.end(State.COMPLETED, now)
        self.results = results

    def copy_results(self, source: Evaluation, now: datetime) -> None:
        """End at once with the results of an identical evaluation."""
        self.source_evaluation_id = source.id
        self.environment_version = source.environment_version
        self.bootstrap_seed = source.bootstrap_seed
        self.episodes_done = source.episodes_done
        self.start_time = now
        self.complete(dict(source.results or {}), now)
        self.stop_due = False

    def remaining_s(self, now: datetime) -> float | None:
        """Estimate the seconds to the end from the pace since the start; None where unknown."""
        if not self.is_active or self.start_time is None or self.episodes_done == 0:
            return None
        elapsed_s = max(0.0, (now - self.start_time).total_seconds())
        return elapsed_s / self.episodes_done * (self.episodes_total - self.episodes_done)

    def to_proto(self, now: datetime | None = None) -> evaluation_pb2.Evaluation:
        """Say it on the wire; the estimate of the end needs `now`."""
        results = self.results or {}
        return evaluation_pb2.Evaluation(
            id=self.id,
            suite_id=self.suite_id,
            suite_name=self.suite_name,
            suite_version=self.suite_version,
            suite_version_id=self.suite_version_id,
            checkpoint_id=self.checkpoint_id,
            agent=self.agent or None,
            checkpoint_sha256=self.checkpoint_sha256,
            state=self.wire_state,
            percent=self.percent,
            episodes_done=self.episodes_done,
            episodes_total=self.episodes_total,
            estimated_remaining_s=self.remaining_s(now) if now else None,
            metrics=[evaluation_pb2.MetricEstimate(**row) for row in results.get("metrics", ())],
            scenarios=[_scenario_result(row) for row in results.get("scenarios", ())],
            bootstrap_seed=self.bootstrap_seed,
            cached=self.source_evaluation_id is not None,
            source_evaluation_id=self.source_evaluation_id or "",
            rerun_of_id=self.rerun_of_id or "",
            trigger=f"EVALUATION_TRIGGER_{self.trigger}",
            run_id=self.run_id or "",
            owner_id=self.owner_id,
            error=self.error,
            environment_version=self.environment_version,
            time_limit_s=self.time_limit_s,
            create_time=self.create_time,
            start_time=self.start_time,
            finish_time=self.finish_time,
            update_time=self.update_time,
        )

    def to_event(self) -> events_pb2.EvaluationFinished:
        """Say how it ended."""
        results = self.results or {}
        return events_pb2.EvaluationFinished(
            evaluation_id=self.id,
            suite_id=self.suite_id,
            suite_version=self.suite_version,
            checkpoint_id=self.checkpoint_id or "",
            checkpoint_sha256=self.checkpoint_sha256,
            agent=self.agent,
            state=self.wire_state,
            means={row["metric"]: row["mean"] for row in results.get("metrics", ())},
            error=self.error,
            owner_id=self.owner_id,
            finish_time=self.finish_time,
        )


class Episode(Base):
    """One episode of an evaluation, recorded once whoever plays it how often."""

    __tablename__ = "episodes"
    __table_args__ = (UniqueConstraint("evaluation_id", "scenario", "seed"),)

    id: Mapped[Id]
    evaluation_id: Mapped[Reference] = mapped_column(ForeignKey("evaluations.id"))
    scenario: Mapped[str]
    seed: Mapped[int]
    metrics: Mapped[dict[str, float]] = mapped_column(JSONB)
    duration_s: Mapped[float]
    epoch: Mapped[int]
    create_time: Mapped[CreateTime]

    def to_proto(self) -> evaluation_pb2.Episode:
        """Say it on the wire."""
        return evaluation_pb2.Episode(
            evaluation_id=self.evaluation_id,
            scenario=self.scenario,
            seed=self.seed,
            metrics=self.metrics,
            duration_s=self.duration_s,
            create_time=self.create_time,
        )


def _scenario_result(row: dict[str, Any]) -> evaluation_pb2.ScenarioResult:
    return evaluation_pb2.ScenarioResult(
        scenario=row["scenario"],
        metrics=[evaluation_pb2.MetricEstimate(**metric) for metric in row["metrics"]],
        seeds=row["seeds"],
    )


def finite(values: dict[str, float]) -> dict[str, float]:
    """Return the values with -0.0 as 0.0, which JSON in Postgres cannot tell apart.

    Raises INVALID_ARGUMENT for one that is not finite or too large to be squared safely.
    """
    for name, value in values.items():
        if not math.isfinite(value) or abs(value) > MAX_VALUE:
            raise errors.invalid_argument(
                f"metrics.{name}", f"must be finite and at most {MAX_VALUE:g} in size"
            )
    return {name: value + 0.0 for name, value in values.items()}


async def get_evaluation(
    session: AsyncSession, evaluation_id: str, *, lock: bool = False
) -> Evaluation:
    """Read an evaluation, locked for a change if asked; raise NOT_FOUND."""
    evaluation = await session.get(Evaluation, evaluation_id, with_for_update=lock or None)
    if evaluation is None:
        raise errors.not_found("evaluation", evaluation_id)
    return evaluation


async def own_evaluation(
    session: AsyncSession, evaluation_id: str, caller: Principal, *, lock: bool = False
) -> Evaluation:
    """Read an evaluation; somebody else's does not exist for the caller."""
    evaluation = await get_evaluation(session, evaluation_id, lock=lock)
    if not caller.owns(evaluation.owner_id):
        raise errors.not_found("evaluation", evaluation_id)
    return evaluation


async def episodes_of(session: AsyncSession, evaluation: Evaluation) -> list[Episode]:
    """Read the episodes an evaluation rests on, by scenario and seed."""
    query = (
        select(Episode)
        .where(Episode.evaluation_id == evaluation.episodes_id)
        .order_by(Episode.scenario, Episode.seed)
    )
    return list(await session.scalars(query))


async def newest_completed(
    session: AsyncSession, suite_version_id: str, *, checkpoint_sha256: str = "", agent: str = ""
) -> Evaluation | None:
    """Read the newest completed evaluation of a subject on a suite version, if there is one."""
    query = (
        select(Evaluation)
        .where(
            Evaluation.suite_version_id == suite_version_id,
            Evaluation.checkpoint_sha256 == checkpoint_sha256,
            Evaluation.agent == agent,
            Evaluation.state == State.COMPLETED,
        )
        .order_by(Evaluation.create_time.desc())
        .limit(1)
    )
    return await session.scalar(query)


async def newest_environment(session: AsyncSession) -> str:
    """Read which engine the last claimed evaluation was played by; empty before the first."""
    query = (
        select(Evaluation.environment_version)
        .where(Evaluation.environment_version != "", Evaluation.source_evaluation_id.is_(None))
        .order_by(Evaluation.start_time.desc())
        .limit(1)
    )
    return await session.scalar(query) or ""
