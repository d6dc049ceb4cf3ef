"""Policies are data with versions; a decision is written once, with everything it rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elodrome.evaluator.v1 import events_pb2, gate_pb2
from google.protobuf.json_format import MessageToDict, ParseDict
from sqlalchemy import ForeignKey, UniqueConstraint, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from kit import errors
from kit.db import Base, CreateTime, Id, Json, Reference

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


class GatePolicy(Base):
    """A name for a line of rule sets."""

    __tablename__ = "gate_policies"

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str]
    owner_id: Mapped[Reference]
    newest_version: Mapped[int]
    create_time: Mapped[CreateTime]

    def add_version(
        self, rules: list[gate_pb2.GateRule], confidence: float, creator_id: str
    ) -> GatePolicyVersion:
        """Make the next version; the caller adds it to the session under this row's lock."""
        self.newest_version += 1
        return GatePolicyVersion(
            policy=self,
            number=self.newest_version,
            rules=[MessageToDict(rule, preserving_proto_field_name=True) for rule in rules],
            confidence=confidence,
            creator_id=creator_id,
        )

    def to_proto(self, version: GatePolicyVersion) -> gate_pb2.GatePolicy:
        """Say it on the wire, at one version."""
        return gate_pb2.GatePolicy(
            id=self.id,
            name=self.name,
            description=self.description,
            version=version.number,
            newest_version=self.newest_version,
            rules=version.rules_to_proto(),
            confidence=version.confidence,
            owner_id=self.owner_id,
            create_time=version.create_time,
        )


class GatePolicyVersion(Base):
    """One set of rules; a row is never updated."""

    __tablename__ = "gate_policy_versions"
    __table_args__ = (UniqueConstraint("policy_id", "number"),)

    id: Mapped[Id]
    policy_id: Mapped[Reference] = mapped_column(ForeignKey("gate_policies.id"))
    number: Mapped[int]
    rules: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    confidence: Mapped[float]
    creator_id: Mapped[Reference]
    create_time: Mapped[CreateTime]

    # Only orders the inserts; a version is always read through its policy.
    policy: Mapped[GatePolicy] = relationship(lazy="raise")

    def rules_to_proto(self) -> list[gate_pb2.GateRule]:
        """Say the rules on the wire."""
        return [ParseDict(rule, gate_pb2.GateRule()) for rule in self.rules]


class GateDecision(Base):
    """A policy applied to a candidate; a row is never updated."""

    __tablename__ = "gate_decisions"

    id: Mapped[Id]
    passed: Mapped[bool]
    model_id: Mapped[Reference] = mapped_column(index=True)
    version_id: Mapped[Reference] = mapped_column(index=True)
    checkpoint_id: Mapped[Reference]
    checkpoint_sha256: Mapped[str]
    policy_id: Mapped[Reference]
    policy_version: Mapped[int]
    checks: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    record: Mapped[Json]
    record_sha256: Mapped[str]
    owner_id: Mapped[Reference] = mapped_column(index=True)
    create_time: Mapped[CreateTime]

    def checks_to_proto(self) -> list[gate_pb2.Check]:
        """Say the checks on the wire."""
        return [ParseDict(check, gate_pb2.Check()) for check in self.checks]

    def record_to_proto(self) -> gate_pb2.DecisionRecord:
        """Say the record on the wire."""
        return ParseDict(self.record, gate_pb2.DecisionRecord())

    def to_proto(self, *, with_record: bool) -> gate_pb2.GateDecision:
        """Say it on the wire."""
        return gate_pb2.GateDecision(
            id=self.id,
            passed=self.passed,
            model_id=self.model_id,
            version_id=self.version_id,
            checkpoint_id=self.checkpoint_id,
            checkpoint_sha256=self.checkpoint_sha256,
            checks=self.checks_to_proto(),
            record=self.record_to_proto() if with_record else None,
            record_sha256=self.record_sha256,
            owner_id=self.owner_id,
            create_time=self.create_time,
        )

    def to_event(self) -> events_pb2.GateDecided:
        """Say what was decided."""
        failed = [
            check.rule
            for check in self.checks_to_proto()
            if check.state == gate_pb2.CHECK_STATE_FAILED and not check.optional
        ]
        return events_pb2.GateDecided(
            decision_id=self.id,
            model_id=self.model_id,
            version_id=self.version_id,
            checkpoint_id=self.checkpoint_id,
            checkpoint_sha256=self.checkpoint_sha256,
            passed=self.passed,
            failed_rules=failed,
            policy_id=self.policy_id,
            policy_version=self.policy_version,
            owner_id=self.owner_id,
            decide_time=self.create_time,
        )


async def get_policy(session: AsyncSession, policy_id: str, *, lock: bool = False) -> GatePolicy:
    """Read a policy, locked for a change if asked; raise NOT_FOUND."""
    policy = await session.get(GatePolicy, policy_id, with_for_update=lock or None)
    if policy is None:
        raise errors.not_found("gate policy", policy_id)
    return policy


async def get_policy_version(
    session: AsyncSession, policy: GatePolicy, number: int
) -> GatePolicyVersion:
    """Read one version, the newest for 0; raise NOT_FOUND."""
    number = number or policy.newest_version
    query = select(GatePolicyVersion).where(
        GatePolicyVersion.policy_id == policy.id, GatePolicyVersion.number == number
    )
    version = await session.scalar(query)
    if version is None:
        raise errors.not_found("gate policy", f"{policy.name} v{number}")
    return version
