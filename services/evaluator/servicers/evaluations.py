"""EvaluationService: starting, reading, ending and comparing evaluations."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from elodrome.evaluator.v1 import (
    evaluation_pb2,
    evaluation_service_pb2,
    evaluation_service_pb2_grpc,
)
from sqlalchemy import Select, select

from kit import errors, parse
from kit.auth import principal
from kit.page import list_page
from services.evaluator import comparing, ending, watching
from services.evaluator.models.evaluation import (
    Episode,
    Evaluation,
    Trigger,
    own_evaluation,
)
from services.evaluator.models.suite import get_suite, get_version
from services.evaluator.models.workload import State, current_time
from services.evaluator.starting import DEFAULT_TIME_LIMIT_S, Subject, repeatable_id, start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc

    from kit.db import Sessions
    from services.evaluator.bell import Bell
    from services.evaluator.peers import Registry
    from services.evaluator.reconciler import Reconciler

AGENTS = ("random", "fixed")
_TIME_LIMIT_S = (10, 86_400)


class EvaluationServicer(evaluation_service_pb2_grpc.EvaluationServiceServicer):
    """Evaluations of the caller; everybody's for administrators and operators."""

    def __init__(
        self, sessions: Sessions, registry: Registry, reconciler: Reconciler, bell: Bell
    ) -> None:
        self._sessions = sessions
        self._registry = registry
        self._reconciler = reconciler
        self._bell = bell

    async def CreateEvaluation(
        self,
        request: evaluation_service_pb2.CreateEvaluationRequest,
        _context: grpc.aio.ServicerContext,
    ) -> evaluation_pb2.Evaluation:
        """Evaluate a checkpoint or an agent, or answer from the cache."""
        owner_id = _acting_user()
        suite_id = parse.uuid(request.suite_id, "suite_id")
        request_id = parse.optional_uuid(request.request_id, "request_id")
        subject = await self._subject(request)
        async with self._sessions.begin() as session:
            suite = await get_suite(session, suite_id)
            version = await get_version(session, suite, _number(request.suite_version))
            evaluation = await start(
                session,
                suite,
                version,
                subject,
                owner_id=owner_id,
                evaluation_id=repeatable_id("request", owner_id, request_id) if request_id else "",
                fresh=request.fresh,
                time_limit_s=_time_limit_s(request.time_limit_s),
            )
            _check_same(evaluation, suite_id, request.suite_version, subject)
        self._reconciler.wake()
        return evaluation.to_proto()

    async def GetEvaluation(
        self,
        request: evaluation_service_pb2.GetEvaluationRequest,
        _context: grpc.aio.ServicerContext,
    ) -> evaluation_pb2.Evaluation:
        """Read an evaluation."""
        async with self._sessions() as session:
            evaluation = await own_evaluation(session, parse.uuid(request.id, "id"), principal())
            return evaluation.to_proto(await current_time(session))

    async def ListEvaluations(
        self,
        request: evaluation_service_pb2.ListEvaluationsRequest,
        _context: grpc.aio.ServicerContext,
    ) -> evaluation_service_pb2.ListEvaluationsResponse:
        """List evaluations."""
        query = _filtered(request)
        async with self._sessions() as session:
            items, token, total = await list_page(
                session, query, Evaluation, request, convert=Evaluation.to_proto
            )
        return evaluation_service_pb2.ListEvaluationsResponse(
            items=items, next_page_token=token, total=total
        )

    async def CancelEvaluation(
        self,
        request: evaluation_service_pb2.CancelEvaluationRequest,
        _context: grpc.aio.ServicerContext,
    ) -> evaluation_pb2.Evaluation:
        """Cancel an evaluation at once; its run is stopped by the reconciler."""
        reason = parse.text(request.reason, "reason", min_length=0, max_length=500)
        evaluation_id = parse.uuid(request.id, "id")
        async with self._sessions.begin() as session:
            evaluation = await own_evaluation(session, evaluation_id, principal(), lock=True)
            await ending.cancel(session, evaluation, reason or "cancelled on request")
            await session.flush()
        self._reconciler.wake()
        self._bell.ring(evaluation_id)
        return evaluation.to_proto()

    async def RerunEvaluation(
        self,
        request: evaluation_service_pb2.RerunEvaluationRequest,
        _context: grpc.aio.ServicerContext,
    ) -> evaluation_pb2.Evaluation:
        """Play an ended evaluation again."""
        owner_id = _acting_user()
        async with self._sessions.begin() as session:
            old = await own_evaluation(session, parse.uuid(request.id, "id"), principal())
            if old.is_active:
                raise errors.failed_precondition(
                    f"the evaluation is {old.state}", reason="EVALUATION_NOT_ENDED", state=old.state
                )
            suite = await get_suite(session, old.suite_id)
            evaluation = await start(
                session,
                suite,
                await get_version(session, suite, old.suite_version),
                Subject(old.checkpoint_id, old.checkpoint_sha256, old.run_owner_id, old.agent),
                owner_id=owner_id,
                trigger=Trigger.RERUN,
                fresh=True,
                time_limit_s=old.time_limit_s,
                rerun_of_id=old.id,
            )
        self._reconciler.wake()
        return evaluation.to_proto()

    async def WatchEvaluation(
        self,
        request: evaluation_service_pb2.WatchEvaluationRequest,
        _context: grpc.aio.ServicerContext,
    ) -> AsyncIterator[evaluation_service_pb2.WatchEvaluationResponse]:
        """Stream progress until the end."""
        evaluation_id = parse.uuid(request.id, "id")
        cursor = watching.parse_cursor(request.cursor)
        async with self._sessions() as session:
            await own_evaluation(session, evaluation_id, principal())
        async for update in watching.watch(self._sessions, self._bell, evaluation_id, cursor):
            yield update

    async def ListEpisodes(
        self,
        request: evaluation_service_pb2.ListEpisodesRequest,
        _context: grpc.aio.ServicerContext,
    ) -> evaluation_service_pb2.ListEpisodesResponse:
        """List episodes."""
        evaluation_id = parse.uuid(request.evaluation_id, "evaluation_id")
        async with self._sessions() as session:
            evaluation = await own_evaluation(session, evaluation_id, principal())
            query = select(Episode).where(Episode.evaluation_id == evaluation.episodes_id)
            if scenario := parse.text(request.scenario, "scenario", min_length=0, max_length=64):
                query = query.where(Episode.scenario == scenario)
            items, token, total = await list_page(
                session, query, Episode, request, convert=Episode.to_proto
            )
        return evaluation_service_pb2.ListEpisodesResponse(
            items=items, next_page_token=token, total=total
        )

    async def CompareEvaluations(
        self,
        request: evaluation_service_pb2.CompareEvaluationsRequest,
        _context: grpc.aio.ServicerContext,
    ) -> evaluation_service_pb2.CompareEvaluationsResponse:
        """Compare a candidate with a base."""
        confidence = parse_confidence(request.confidence)
        async with self._sessions() as session:
            base_id, candidate_id = await comparing.find(session, request)
            base = await own_evaluation(session, base_id, principal())
            candidate = await own_evaluation(session, candidate_id, principal())
            sides = await comparing.load(session, base, candidate)
        return await asyncio.to_thread(comparing.compare, sides, confidence)

    async def _subject(self, request: evaluation_service_pb2.CreateEvaluationRequest) -> Subject:
        match request.WhichOneof("subject"):
            case "checkpoint_id":
                checkpoint_id = parse.uuid(request.checkpoint_id, "checkpoint_id")
                found = await self._registry.committed_checkpoint(checkpoint_id)
                return Subject(found.id, found.artifact.sha256, found.owner_id)
            case "agent":
                if request.agent not in AGENTS:
                    raise errors.invalid_argument(
                        "agent", f"must be one of {', '.join(AGENTS)}", reason="UNKNOWN_AGENT"
                    )
                return Subject(agent=request.agent)
        raise errors.invalid_argument("checkpoint_id", "must be set, or agent")


def parse_confidence(value: float) -> float:
    """Return a coverage; 0 means 0.95."""
    return parse.number(value or 0.95, "confidence", minimum=0.5, maximum=0.999)


def _acting_user() -> str:
    user_id = principal().user_id
    if not user_id:
        raise errors.permission_denied(
            "a service evaluates for a user only", reason="USER_REQUIRED"
        )
    return user_id


def _number(version: int) -> int:
    return parse.integer(version, "suite_version", minimum=0, maximum=2**31 - 1)


def _time_limit_s(value: int) -> int:
    shortest, longest = _TIME_LIMIT_S
    return parse.integer(
        value or DEFAULT_TIME_LIMIT_S, "time_limit_s", minimum=shortest, maximum=longest
    )


def _check_same(evaluation: Evaluation, suite_id: str, number: int, subject: Subject) -> None:
    """Refuse a request id that stands for another request."""
    same_suite = evaluation.suite_id == suite_id and number in {0, evaluation.suite_version}
    same_subject = (evaluation.checkpoint_id, evaluation.agent) == (
        subject.checkpoint_id,
        subject.agent,
    )
    if not (same_suite and same_subject):
        raise errors.already_exists(
            "the request_id belongs to another request",
            reason="REQUEST_ID_REUSED",
            field="request_id",
            evaluation_id=evaluation.id,
        )


def _filtered(
    request: evaluation_service_pb2.ListEvaluationsRequest,
) -> Select[Evaluation]:
    caller = principal()
    query = select(Evaluation)
    if not caller.owns(None):
        query = query.where(Evaluation.owner_id == caller.user_id)
    if suite_id := parse.optional_uuid(request.suite_id, "suite_id"):
        query = query.where(Evaluation.suite_id == suite_id)
    if checkpoint_id := parse.optional_uuid(request.checkpoint_id, "checkpoint_id"):
        query = query.where(Evaluation.checkpoint_id == checkpoint_id)
    if agent := parse.text(request.agent, "agent", min_length=0, max_length=64):
        query = query.where(Evaluation.agent == agent)
    if request.state:
        number = parse.enum_value(request.state, "state", evaluation_pb2.EvaluationState)
        name = evaluation_pb2.EvaluationState.Name(number).removeprefix("EVALUATION_STATE_")
        query = query.where(Evaluation.state == State(name))
    return query
