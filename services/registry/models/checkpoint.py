"""Checkpoints, the files behind them, and which lease may write for a run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import structlog
from elodrome.registry.v1 import checkpoint_pb2, events_pb2
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct
from sqlalchemy import ARRAY, ForeignKey, Index, Text, UniqueConstraint, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column, relationship

from kit import errors, outbox
from kit.db import Base, CreateTime, Id, Json, Reference, Time, UpdateTime, server_now
from services.registry.models.signature import signature_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.auth import Principal

PENDING = checkpoint_pb2.CHECKPOINT_STATE_PENDING
COMMITTED = checkpoint_pb2.CHECKPOINT_STATE_COMMITTED
CORRUPT = checkpoint_pb2.CHECKPOINT_STATE_CORRUPT

log = structlog.get_logger("registry.checkpoint")


class Artifact(Base):
    """A stored file. The row is written after the file, and removed before it."""

    __tablename__ = "artifacts"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    size_bytes: Mapped[int]
    verify_time: Mapped[CreateTime]
    corrupt_reason: Mapped[str] = mapped_column(server_default="")
    create_time: Mapped[CreateTime]

    def to_proto(self) -> checkpoint_pb2.Artifact:
        """Return the file's digest and size."""
        return checkpoint_pb2.Artifact(
            sha256=self.sha256, size_bytes=self.size_bytes, verify_time=self.verify_time
        )


class Checkpoint(Base):
    """The state of one run's training at one iteration.

    Its state is not stored but follows from two facts: whether it was committed, and whether its
    file is damaged. A file that is repaired therefore repairs every checkpoint on it.
    """

    __tablename__ = "checkpoints"
    __table_args__ = (
        UniqueConstraint("run_id", "sha256"),
        Index("ix_checkpoints_owner_id_create_time", "owner_id", "create_time", "id"),
        Index("ix_checkpoints_sha256", "sha256"),
        Index(
            "uq_checkpoints_best_of_run", "run_id", unique=True, postgresql_where=text("is_best")
        ),
    )

    id: Mapped[Id]
    run_id: Mapped[Reference]
    owner_id: Mapped[Reference]
    job_id: Mapped[str] = mapped_column(server_default="")
    epoch: Mapped[int] = mapped_column(server_default="0")
    iteration: Mapped[int]
    steps: Mapped[int]
    sha256: Mapped[str] = mapped_column(ForeignKey("artifacts.sha256"))
    manifest: Mapped[Json]
    tensor_groups: Mapped[list[str]] = mapped_column(ARRAY(Text))
    metrics: Mapped[Json] = mapped_column(default=dict)
    is_best: Mapped[bool] = mapped_column(default=False)
    load_count: Mapped[int] = mapped_column(default=0)
    commit_time: Mapped[Time | None]
    create_time: Mapped[CreateTime]
    update_time: Mapped[UpdateTime]

    artifact: Mapped[Artifact] = relationship(lazy="joined", innerjoin=True)

    @property
    def state(self) -> checkpoint_pb2.CheckpointState:
        """Where it stands."""
        if self.artifact.corrupt_reason:
            return CORRUPT
        return COMMITTED if self.commit_time else PENDING

    @property
    def signature(self) -> checkpoint_pb2.Signature:
        """What the network was made for."""
        return signature_of(self.manifest)

    def check_usable(self) -> None:
        """Raise unless it is committed and its file is whole, as far as is known."""
        if self.artifact.corrupt_reason:
            raise corrupt(self.sha256, self.artifact.corrupt_reason)
        if self.commit_time is None:
            raise errors.failed_precondition(
                f"checkpoint {self.id} is not committed",
                reason="CHECKPOINT_NOT_COMMITTED",
                checkpoint_id=self.id,
            )

    async def commit(self, session: AsyncSession, metrics: Mapping[str, float]) -> None:
        """Vouch for it, once; raise ALREADY_EXISTS when that was done with other metrics."""
        stored = metrics_to_json(metrics)
        if self.commit_time is not None:
            if self.metrics != stored:
                raise errors.already_exists(
                    f"checkpoint {self.id} was committed with other metrics",
                    reason="CHECKPOINT_COMMITTED",
                    checkpoint_id=self.id,
                )
            return
        if self.artifact.corrupt_reason:
            raise corrupt(self.sha256, self.artifact.corrupt_reason)
        self.metrics = stored
        self.commit_time = await session.scalar(select(server_now()))

    async def star(self, session: AsyncSession) -> None:
        """Become the best of the run; whoever was it is not any more."""
        former = await best_to_change(session, self.run_id)
        if former is self:
            return
        if former is not None:
            former.is_best = False
            # The index allows one star at a time, so the old one is put out first.
            await session.flush()
        self.is_best = True

    def beats(self, other: Checkpoint | None, metric: str, *, lower_is_better: bool) -> bool:
        """Say whether `metric` is better here than in `other`; what is not a number never is."""
        mine = float(self.metrics.get(metric, math.nan))
        theirs = math.nan if other is None else float(other.metrics.get(metric, math.nan))
        if math.isnan(mine):
            return False
        if math.isnan(theirs):
            return True
        return mine < theirs if lower_is_better else mine > theirs

    async def record_load(self, session: AsyncSession, caller: Principal) -> int:
        """Count a load and say in the log who loaded; return how many there have been."""
        count = await session.scalar(
            update(Checkpoint)
            .where(Checkpoint.id == self.id)
            .values(load_count=Checkpoint.load_count + 1)
            .returning(Checkpoint.load_count)
        )
        if count is None:
            raise errors.not_found("checkpoint", self.id)
        log.info(
            "checkpoint_loaded",
            checkpoint_id=self.id,
            loader=f"{caller.kind}:{caller.subject}",
            user_id=caller.user_id,
        )
        return count

    def announce(self, session: AsyncSession) -> None:
        """Tell the others that it was committed."""
        event = events_pb2.CheckpointSaved(
            checkpoint_id=self.id,
            run_id=self.run_id,
            owner_id=self.owner_id,
            job_id=self.job_id,
            iteration=self.iteration,
            steps=self.steps,
            sha256=self.sha256,
            size_bytes=self.artifact.size_bytes,
            signature=self.signature,
            metrics=metrics_from_json(self.metrics),
            is_best=self.is_best,
            commit_time=self.commit_time,
        )
        outbox.emit(session, event, about=self.id)

    def to_proto(self) -> checkpoint_pb2.Checkpoint:
        """Return the checkpoint with its file's facts."""
        return checkpoint_pb2.Checkpoint(
            id=self.id,
            run_id=self.run_id,
            owner_id=self.owner_id,
            job_id=self.job_id,
            epoch=self.epoch,
            state=self.state,
            iteration=self.iteration,
            steps=self.steps,
            artifact=self.artifact.to_proto(),
            signature=self.signature,
            manifest=ParseDict(self.manifest, Struct()),
            metrics=metrics_from_json(self.metrics),
            is_best=self.is_best,
            corrupt_reason=self.artifact.corrupt_reason,
            create_time=self.create_time,
            commit_time=self.commit_time,
            update_time=self.update_time,
            tensor_groups=self.tensor_groups,
        )


class RunClaim(Base):
    """Who writes for a run: the newest lease that was seen, or a person where `epoch` is 0."""

    __tablename__ = "run_claims"

    run_id: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[Reference]
    epoch: Mapped[int]
    update_time: Mapped[UpdateTime]


async def claim(session: AsyncSession, caller: Principal, run_id: str, owner_id: str) -> None:
    """Let the caller write for a run, as its leased worker or as a person; or raise."""
    if caller.kind == "worker":
        await fence(session, caller)
    else:
        await _claim_by_hand(session, run_id, owner_id)


async def fence(session: AsyncSession, caller: Principal) -> None:
    """Take the run for the worker's lease, or raise STALE_EPOCH when a newer one has it.

    The claim stays locked until the transaction ends, so writes for one run follow each other.
    """
    offer = insert(RunClaim).values(
        run_id=caller.run_id, owner_id=caller.user_id, epoch=caller.epoch
    )
    newest = await session.scalar(
        offer.on_conflict_do_update(
            index_elements=["run_id"],
            set_={
                "epoch": func.greatest(RunClaim.epoch, offer.excluded.epoch),
                "update_time": server_now(),
            },
        ).returning(RunClaim.epoch)
    )
    if newest != caller.epoch:
        raise errors.failed_precondition(
            f"lease {caller.epoch} of run {caller.run_id} was replaced by {newest}",
            reason="STALE_EPOCH",
            run_id=caller.run_id,
            epoch=caller.epoch,
            newest_epoch=newest,
        )


async def _claim_by_hand(session: AsyncSession, run_id: str, owner_id: str) -> None:
    """Let a person write for a run that no worker writes for; else raise RUN_HAS_WORKER."""
    offer = insert(RunClaim).values(run_id=run_id, owner_id=owner_id, epoch=0)
    epoch = await session.scalar(
        offer.on_conflict_do_update(
            index_elements=["run_id"], set_={"update_time": server_now()}
        ).returning(RunClaim.epoch)
    )
    if epoch:
        raise errors.failed_precondition(
            f"run {run_id} is written by a leased worker",
            reason="RUN_HAS_WORKER",
            run_id=run_id,
        )


async def best_to_change(session: AsyncSession, run_id: str) -> Checkpoint | None:
    """Return the starred checkpoint of a run; nobody else moves the star until the commit."""
    await session.execute(
        select(func.pg_advisory_xact_lock(func.hashtextextended(f"star {run_id}", 0)))
    )
    return await session.scalar(
        select(Checkpoint)
        .where(Checkpoint.run_id == run_id, Checkpoint.is_best)
        .execution_options(populate_existing=True)
    )


def corrupt(sha256: str, why: str) -> errors.RpcError:
    """Say that a stored file is damaged."""
    return errors.data_loss(
        f"the file {sha256} is damaged: {why}", reason="CHECKPOINT_CORRUPT", sha256=sha256
    )


def metrics_to_json(metrics: Mapping[str, float]) -> dict[str, Any]:
    """Return metrics as JSON, which has no number for NaN and the infinities."""
    return {name: value if math.isfinite(value) else str(value) for name, value in metrics.items()}


def metrics_from_json(stored: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics that `metrics_to_json` was given."""
    return {name: float(value) for name, value in stored.items()}


def age_limit(age_s: float) -> ColumnElement[datetime]:
    """Return SQL for the instant `age_s` seconds ago, by the database's clock."""
    return server_now() - func.make_interval(0, 0, 0, 0, 0, 0, age_s)
