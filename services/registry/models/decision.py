"""Gate decisions as the evaluator told them: the evidence that a promotion needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elodrome.registry.v1 import version_service_pb2
from sqlalchemy import Index, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped

from kit import errors
from kit.db import Base, CreateTime, Id, Reference, Time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession

    from services.registry.models.model import Version


class Decision(Base):
    """One gate decision; written once, never changed."""

    __tablename__ = "decisions"
    __table_args__ = (
        Index("ix_decisions_checkpoint_id_model_id", "checkpoint_id", "model_id", "decide_time"),
    )

    id: Mapped[Id]
    model_id: Mapped[Reference]
    checkpoint_id: Mapped[Reference]
    passed: Mapped[bool]
    decide_time: Mapped[Time]
    create_time: Mapped[CreateTime]

    def to_proto(self) -> version_service_pb2.GateEvidence:
        """Return what is known of the decision."""
        return version_service_pb2.GateEvidence(
            decision_id=self.id,
            model_id=self.model_id,
            checkpoint_id=self.checkpoint_id,
            passed=self.passed,
            decide_time=self.decide_time,
        )

    def check_proves(self, version: Version) -> None:
        """Raise GATE_NOT_PASSED unless it passed this version's checkpoint for this model."""
        about = (self.model_id, self.checkpoint_id)
        if about != (version.model_id, version.checkpoint_id):
            raise not_passed(version, f"decision {self.id} is about something else")
        if not self.passed:
            raise not_passed(version, f"decision {self.id} did not pass the gate")


async def record(
    session: AsyncSession,
    *,
    decision_id: str,
    model_id: str,
    checkpoint_id: str,
    passed: bool,
    decide_time: datetime,
) -> None:
    """Remember a decision; a repeat changes nothing."""
    row = {
        "id": decision_id,
        "model_id": model_id,
        "checkpoint_id": checkpoint_id,
        "passed": passed,
        "decide_time": decide_time,
    }
    await session.execute(insert(Decision).values(row).on_conflict_do_nothing())


async def decisions_about(session: AsyncSession, version: Version) -> Sequence[Decision]:
    """Return the decisions about the version's checkpoint and model, newest first."""
    query = (
        select(Decision)
        .where(
            Decision.checkpoint_id == version.checkpoint_id,
            Decision.model_id == version.model_id,
        )
        .order_by(Decision.decide_time.desc(), Decision.id)
    )
    return (await session.scalars(query)).all()


def not_passed(version: Version, why: str) -> errors.RpcError:
    """Say that a version lacks the evidence for a promotion; REST answers 412."""
    return errors.failed_precondition(
        f"version {version.number} of {version.model.name} has not passed a gate: {why}",
        reason="GATE_NOT_PASSED",
        version_id=version.id,
        http_status=412,
    )
