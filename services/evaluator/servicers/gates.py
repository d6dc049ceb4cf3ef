"""GateService: policies, decisions and their recomputation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from elodrome.evaluator.v1 import gate_pb2, gate_service_pb2, gate_service_pb2_grpc
from google.protobuf.json_format import MessageToDict
from sqlalchemy import Select, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import defer

from kit import errors, outbox, parse
from kit.auth import principal
from kit.db import new_id
from kit.page import list_page
from services.evaluator import inference, judging
from services.evaluator.evidence import Case, gather
from services.evaluator.models.gate import (
    GateDecision,
    GatePolicy,
    GatePolicyVersion,
    get_policy,
    get_policy_version,
)
from services.evaluator.rules import parse_rules
from services.evaluator.servicers.evaluations import parse_confidence
from services.evaluator.starting import lock_id, repeatable_id

if TYPE_CHECKING:
    import grpc
    from elodrome.registry.v1 import model_pb2
    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.db import Sessions
    from services.evaluator.judging import Judgement
    from services.evaluator.peers import Registry


class GateServicer(gate_service_pb2_grpc.GateServiceServicer):
    """Keeps policies and applies them."""

    def __init__(self, sessions: Sessions, registry: Registry) -> None:
        self._sessions = sessions
        self._registry = registry

    async def CreateGatePolicy(
        self,
        request: gate_service_pb2.CreateGatePolicyRequest,
        _context: grpc.aio.ServicerContext,
    ) -> gate_pb2.GatePolicy:
        """Create a policy with its version 1."""
        policy = GatePolicy(
            id=new_id(),
            name=parse.slug(request.name, "name"),
            description=parse.text(
                request.description, "description", min_length=0, max_length=2_000
            ),
            owner_id=principal().user_id,
            newest_version=0,
        )
        rules, confidence = parse_rules(request.rules), parse_confidence(request.confidence)
        async with self._sessions.begin() as session:
            version = policy.add_version(rules, confidence, principal().user_id)
            session.add_all([policy, version])
            try:
                await session.flush()
            except IntegrityError as error:
                raise errors.already_exists(
                    f"there is a gate policy {policy.name}",
                    reason="GATE_POLICY_NAME_TAKEN",
                    field="name",
                    name=policy.name,
                ) from error
        return policy.to_proto(version)

    async def GetGatePolicy(
        self,
        request: gate_service_pb2.GetGatePolicyRequest,
        _context: grpc.aio.ServicerContext,
    ) -> gate_pb2.GatePolicy:
        """Read a policy at one version."""
        policy_id, number = parse.uuid(request.id, "id"), _number(request.version, "version")
        async with self._sessions() as session:
            policy = await get_policy(session, policy_id)
            return policy.to_proto(await get_policy_version(session, policy, number))

    async def ListGatePolicies(
        self,
        request: gate_service_pb2.ListGatePoliciesRequest,
        _context: grpc.aio.ServicerContext,
    ) -> gate_service_pb2.ListGatePoliciesResponse:
        """List policies at their newest versions."""
        query = select(GatePolicy)
        if name := parse.text(request.name, "name", min_length=0, max_length=64):
            query = query.where(GatePolicy.name == name)
        async with self._sessions() as session:
            policies, token, total = await list_page(
                session, query, GatePolicy, request, convert=lambda policy: policy
            )
            newest = await _newest_versions(session, policies)
        return gate_service_pb2.ListGatePoliciesResponse(
            items=[policy.to_proto(newest[policy.id]) for policy in policies],
            next_page_token=token,
            total=total,
        )

    async def CreateGatePolicyVersion(
        self,
        request: gate_service_pb2.CreateGatePolicyVersionRequest,
        _context: grpc.aio.ServicerContext,
    ) -> gate_pb2.GatePolicy:
        """Create the next version of a policy."""
        policy_id = parse.uuid(request.id, "id")
        rules, confidence = parse_rules(request.rules), parse_confidence(request.confidence)
        async with self._sessions.begin() as session:
            policy = await get_policy(session, policy_id, lock=True)
            if not principal().owns(policy.owner_id):
                raise errors.not_found("gate policy", policy_id)
            version = policy.add_version(rules, confidence, principal().user_id)
            session.add(version)
            await session.flush()
            return policy.to_proto(version)

    async def DecideGate(
        self, request: gate_service_pb2.DecideGateRequest, _context: grpc.aio.ServicerContext
    ) -> gate_pb2.GateDecision:
        """Apply a policy to a version and record the decision with everything it rests on."""
        request_id = parse.optional_uuid(request.request_id, "request_id")
        decision_id = new_id()
        if request_id:
            decision_id = repeatable_id("decision", principal().user_id, request_id)
        case = await self._case(request)
        async with self._sessions.begin() as session:
            await lock_id(session, decision_id)
            decision = await session.get(GateDecision, decision_id)
            if decision is None:
                record = await gather(session, case, request)
                judgement = await asyncio.to_thread(judging.judge, record)
                decision = _decision(decision_id, case.version, record, judgement)
                session.add(decision)
                await session.flush()
                outbox.emit(session, decision.to_event(), about=decision.id)
        _check_same(decision, case)
        return decision.to_proto(with_record=True)

    async def GetDecision(
        self, request: gate_service_pb2.GetDecisionRequest, _context: grpc.aio.ServicerContext
    ) -> gate_pb2.GateDecision:
        """Read a decision with its record."""
        async with self._sessions() as session:
            decision = await _own_decision(session, parse.uuid(request.id, "id"))
        return decision.to_proto(with_record=True)

    async def ListDecisions(
        self, request: gate_service_pb2.ListDecisionsRequest, _context: grpc.aio.ServicerContext
    ) -> gate_service_pb2.ListDecisionsResponse:
        """List decisions without their records."""
        async with self._sessions() as session:
            items, token, total = await list_page(
                session,
                _filtered(request),
                GateDecision,
                request,
                convert=lambda decision: decision.to_proto(with_record=False),
            )
        return gate_service_pb2.ListDecisionsResponse(
            items=items, next_page_token=token, total=total
        )

    async def RecomputeDecision(
        self,
        request: gate_service_pb2.RecomputeDecisionRequest,
        _context: grpc.aio.ServicerContext,
    ) -> gate_service_pb2.RecomputeDecisionResponse:
        """Compute a decision again from its record alone."""
        async with self._sessions() as session:
            decision = await _own_decision(session, parse.uuid(request.id, "id"))
        record = decision.record_to_proto()
        judgement = await asyncio.to_thread(judging.judge, record)
        differences = _differences(decision, record, judgement)
        return gate_service_pb2.RecomputeDecisionResponse(
            equal=not differences,
            passed=judgement.passed,
            checks=judgement.checks,
            differences=differences,
        )

    async def _case(self, request: gate_service_pb2.DecideGateRequest) -> Case:
        policy_id = parse.uuid(request.policy_id, "policy_id")
        number = _number(request.policy_version, "policy_version")
        version = await self._registry.version(parse.uuid(request.version_id, "version_id"))
        async with self._sessions() as session:
            policy = await get_policy(session, policy_id)
            policy_version = await get_policy_version(session, policy, number)
        stable = None
        if "stable" in judging.baselines_of(policy_version.rules_to_proto()):
            stable = await self._registry.stable_version(version.model_id)
        return Case(policy, policy_version, version, stable)


def _decision(
    decision_id: str,
    version: model_pb2.Version,
    record: gate_pb2.DecisionRecord,
    judgement: Judgement,
) -> GateDecision:
    return GateDecision(
        id=decision_id,
        passed=judgement.passed,
        model_id=version.model_id,
        version_id=version.id,
        checkpoint_id=version.checkpoint_id,
        checkpoint_sha256=version.artifact.sha256,
        policy_id=record.policy_id,
        policy_version=record.policy_version,
        checks=[
            MessageToDict(check, preserving_proto_field_name=True) for check in judgement.checks
        ],
        record=MessageToDict(record, preserving_proto_field_name=True),
        record_sha256=judging.record_sha256(record),
        owner_id=principal().user_id,
    )


def _check_same(decision: GateDecision, case: Case) -> None:
    """Refuse a request id that stands for another request."""
    if (decision.version_id, decision.policy_id) != (case.version.id, case.policy.id):
        raise errors.already_exists(
            "the request_id belongs to another request",
            reason="REQUEST_ID_REUSED",
            field="request_id",
            decision_id=decision.id,
        )


def _differences(
    decision: GateDecision, record: gate_pb2.DecisionRecord, judgement: Judgement
) -> list[str]:
    found = []
    if judging.record_sha256(record) != decision.record_sha256:
        found.append("the record does not have its recorded digest")
    if record.method != inference.METHOD:
        found.append(f"the record was computed by {record.method}, this is {inference.METHOD}")
    if judgement.passed != decision.passed:
        found.append(f"recorded passed={decision.passed}, recomputed {judgement.passed}")
    found += [
        f"rule {new.rule}: recorded {old.message!r}, recomputed {new.message!r}"
        for old, new in zip(decision.checks_to_proto(), judgement.checks, strict=True)
        if old != new
    ]
    return found


async def _own_decision(session: AsyncSession, decision_id: str) -> GateDecision:
    """Read a decision; somebody else's does not exist for the caller."""
    decision = await session.get(GateDecision, decision_id)
    if decision is None or not principal().owns(decision.owner_id):
        raise errors.not_found("decision", decision_id)
    return decision


async def _newest_versions(
    session: AsyncSession, policies: list[GatePolicy]
) -> dict[str, GatePolicyVersion]:
    query = (
        select(GatePolicyVersion)
        .join(GatePolicy, GatePolicy.id == GatePolicyVersion.policy_id)
        .where(GatePolicyVersion.number == GatePolicy.newest_version)
        .where(GatePolicy.id.in_([policy.id for policy in policies]))
    )
    return {version.policy_id: version for version in await session.scalars(query)}


def _number(version: int, field: str) -> int:
    return parse.integer(version, field, minimum=0, maximum=2**31 - 1)


def _filtered(request: gate_service_pb2.ListDecisionsRequest) -> Select[GateDecision]:
    caller = principal()
    # A record may hold thousands of episodes, which a list does not show.
    query = select(GateDecision).options(defer(GateDecision.record))
    if not caller.owns(None):
        query = query.where(GateDecision.owner_id == caller.user_id)
    if model_id := parse.optional_uuid(request.model_id, "model_id"):
        query = query.where(GateDecision.model_id == model_id)
    if version_id := parse.optional_uuid(request.version_id, "version_id"):
        query = query.where(GateDecision.version_id == version_id)
    return query
