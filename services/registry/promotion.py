"""Promote a version when there is evidence for it, or an admin who takes the responsibility."""

from __future__ import annotations

import asyncio
from datetime import UTC
from typing import TYPE_CHECKING

import grpc
from elodrome.evaluator.v1 import gate_service_pb2, gate_service_pb2_grpc
from sqlalchemy import select

from kit import errors, parse
from kit.auth import principal
from services.registry import access
from services.registry.models import decision as decisions
from services.registry.models.decision import Decision, decisions_about, not_passed
from services.registry.models.model import (
    CANDIDATE,
    GATE,
    OVERRIDE,
    Promotion,
    Version,
    promote,
    stable_id_of,
)
from services.registry.tags import MAX_TEXT

if TYPE_CHECKING:
    from elodrome.registry.v1 import model_pb2, version_service_pb2
    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.server import Context
    from services.registry.downloads import Downloads


# Promotions read whole files and wait for each other's locks; more at a time would only keep
# database connections from everybody else.
_AT_A_TIME = 4


class Promoter:
    """Carries out `PromoteVersion`."""

    def __init__(self, context: Context, downloads: Downloads) -> None:
        self._context = context
        self._sessions = context.sessions
        self._downloads = downloads
        self._turns = asyncio.Semaphore(_AT_A_TIME)

    async def promote(
        self, request: version_service_pb2.PromoteVersionRequest
    ) -> model_pb2.Promotion:
        """Check everything that takes time first, then promote in one transaction."""
        async with self._turns:
            return await self._promote(request)

    async def _promote(
        self, request: version_service_pb2.PromoteVersionRequest
    ) -> model_pb2.Promotion:
        reason = parse.text(request.reason, "reason", min_length=0, max_length=MAX_TEXT)
        expected = parse.optional_uuid(
            request.expected_stable_version_id, "expected_stable_version_id"
        )
        if request.override:
            _check_override(reason)
        async with self._sessions() as session:
            version = await _requested(session, request)
            access.check_owner(version.model)
            seen = expected or await stable_id_of(session, version.model_id)
        await self._downloads.verify(version.checkpoint.artifact)
        decision_id = parse.optional_uuid(request.decision_id, "decision_id")
        if decision_id and not request.override:
            await self._learn(decision_id, version)
        async with self._sessions.begin() as session:
            version = await access.version_to_change(session, version.id)
            version.checkpoint.check_usable()
            promotion = Promotion(
                kind=OVERRIDE if request.override else GATE,
                reason=reason,
                actor_id=principal().user_id or principal().subject,
            )
            if not request.override:
                promotion.decision_id = (await _evidence(session, version, decision_id)).id
            await access.check_not_raced(session, version.model, seen)
            return (await promote(session, version, promotion)).to_proto()

    async def _learn(self, decision_id: str, version: Version) -> None:
        """Ask the evaluator about a decision whose event has not arrived yet."""
        async with self._sessions() as session:
            if await session.get(Decision, decision_id) is not None:
                return
        stub = gate_service_pb2_grpc.GateServiceStub(self._context.channel("evaluator"))
        try:
            found = await stub.GetDecision(
                gate_service_pb2.GetDecisionRequest(id=decision_id),
                metadata=self._context.call_metadata(),
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            raise not_passed(version, f"there is no decision {decision_id}") from error
        async with self._sessions.begin() as session:
            await decisions.record(
                session,
                decision_id=found.id,
                model_id=found.model_id,
                checkpoint_id=found.checkpoint_id,
                passed=found.passed,
                decide_time=found.create_time.ToDatetime(tzinfo=UTC),
            )


def _check_override(reason: str) -> None:
    if not principal().is_admin:
        raise errors.permission_denied(
            "only an admin may promote without a passing gate", reason="OVERRIDE_NEEDS_ADMIN"
        )
    if not reason:
        raise errors.invalid_argument("reason", "must be given for an override")


async def _requested(
    session: AsyncSession, request: version_service_pb2.PromoteVersionRequest
) -> Version:
    """Return the version that is meant, or a model's newest candidate."""
    if request.id:
        version = await access.version_to_read(session, request.id)
        if request.model_id and parse.uuid(request.model_id, "model_id") != version.model_id:
            raise errors.invalid_argument("id", "is not a version of this model")
        return version
    model = await access.model_to_read(session, request.model_id, "model_id")
    newest = await session.scalar(
        select(Version)
        .where(Version.model_id == model.id, Version.tag == CANDIDATE)
        .order_by(Version.number.desc())
        .limit(1)
    )
    if newest is None:
        raise errors.not_found("candidate of", model.name, reason="VERSION_NOT_FOUND")
    return newest


async def _evidence(session: AsyncSession, version: Version, decision_id: str | None) -> Decision:
    """Return the decision that lets the version pass; raise GATE_NOT_PASSED without one."""
    if decision_id:
        decision = await session.get(Decision, decision_id)
    else:
        decision = next(iter(await decisions_about(session, version)), None)
    if decision is None:
        raise not_passed(version, "no decision about it is known")
    decision.check_proves(version)
    return decision
