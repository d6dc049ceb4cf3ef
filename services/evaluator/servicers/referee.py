"""RefereeService: what the worker that plays an evaluation, a match or a build may do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elodrome.evaluator.v1 import (
    evaluation_pb2,
    match_pb2,
    referee_service_pb2,
    referee_service_pb2_grpc,
)
from sqlalchemy.dialects.postgresql import insert

from kit import errors, failpoint, parse
from kit.auth import principal
from kit.db import new_id
from services.evaluator import ending, refereeing
from services.evaluator.models.evaluation import (
    Episode,
    Evaluation,
    episodes_of,
    finite,
    get_evaluation,
)
from services.evaluator.models.suite import SuiteVersion
from services.evaluator.models.workload import State, current_time

if TYPE_CHECKING:
    from typing import Any

    import grpc

    from kit.db import Sessions
    from services.evaluator.bell import Bell

_MAX_BATCH = 500
_MAX_DURATION_S = 86_400


class RefereeServicer(referee_service_pb2_grpc.RefereeServiceServicer):
    """Takes episodes from the worker that holds the newest lease."""

    def __init__(self, sessions: Sessions, bell: Bell) -> None:
        self._sessions = sessions
        self._bell = bell

    async def ClaimEvaluation(
        self,
        request: referee_service_pb2.ClaimEvaluationRequest,
        _context: grpc.aio.ServicerContext,
    ) -> referee_service_pb2.ClaimEvaluationResponse:
        """Let the worker take the evaluation up; say what to play and what need not be."""
        evaluation_id = parse.uuid(request.evaluation_id, "evaluation_id")
        engine = parse.text(request.environment_version, "environment_version", max_length=128)
        async with self._sessions.begin() as session:
            evaluation = await get_evaluation(session, evaluation_id, lock=True)
            now = await current_time(session)
            evaluation.claim(principal(), engine, now)
            version = await session.get_one(SuiteVersion, evaluation.suite_version_id)
            recorded = await episodes_of(session, evaluation)
        self._bell.ring(evaluation_id)
        return referee_service_pb2.ClaimEvaluationResponse(
            checkpoint_id=evaluation.checkpoint_id,
            agent=evaluation.agent or None,
            checkpoint_sha256=evaluation.checkpoint_sha256,
            scenarios=version.scenarios_to_proto(),
            metrics=version.metric_names,
            recorded=[
                referee_service_pb2.EpisodeKey(scenario=episode.scenario, seed=episode.seed)
                for episode in recorded
            ],
        )

    async def RecordEpisodes(
        self,
        request: referee_service_pb2.RecordEpisodesRequest,
        _context: grpc.aio.ServicerContext,
    ) -> referee_service_pb2.RecordEpisodesResponse:
        """Record episodes once, however often they are sent."""
        evaluation_id = parse.uuid(request.evaluation_id, "evaluation_id")
        parse.integer(len(request.episodes), "episodes", minimum=1, maximum=_MAX_BATCH)
        async with self._sessions.begin() as session:
            evaluation = await get_evaluation(session, evaluation_id, lock=True)
            evaluation.admit(principal())
            version = await session.get_one(SuiteVersion, evaluation.suite_version_id)
            rows = [_row(evaluation, version, episode) for episode in request.episodes]
            statement = insert(Episode).values(rows).on_conflict_do_nothing()
            stored = len((await session.scalars(statement.returning(Episode.id))).all())
            evaluation.count_episodes(stored)
        failpoint.hit("evaluation.after_record")
        self._bell.ring(evaluation_id)
        return referee_service_pb2.RecordEpisodesResponse(
            stored_count=stored,
            duplicate_count=len(rows) - stored,
            episodes_done=evaluation.episodes_done,
        )

    async def FinishEvaluation(
        self,
        request: referee_service_pb2.FinishEvaluationRequest,
        _context: grpc.aio.ServicerContext,
    ) -> evaluation_pb2.Evaluation:
        """End the evaluation, with results or with an error."""
        evaluation_id = parse.uuid(request.evaluation_id, "evaluation_id")
        error = parse.text(request.error, "error", min_length=0, max_length=2_000)
        async with self._sessions.begin() as session:
            evaluation = await get_evaluation(session, evaluation_id, lock=True)
            if _is_repeat(evaluation, error):
                return evaluation.to_proto()
            evaluation.admit(principal())
            if error:
                await ending.fail(session, evaluation, error)
                # This worker knows, and ends its run itself.
                evaluation.stop_due = False
            else:
                await ending.complete(session, evaluation)
            await session.flush()
        self._bell.ring(evaluation_id)
        return evaluation.to_proto()

    async def ClaimMatch(
        self, request: referee_service_pb2.ClaimMatchRequest, _context: grpc.aio.ServicerContext
    ) -> referee_service_pb2.ClaimMatchResponse:
        """Let the worker take the match up; say who plays with which code."""
        match_id = parse.uuid(request.match_id, "match_id")
        async with self._sessions.begin() as session:
            answer = await refereeing.claim_match(session, match_id, principal())
        self._bell.ring(match_id)
        return answer

    async def FinishMatch(
        self, request: referee_service_pb2.FinishMatchRequest, _context: grpc.aio.ServicerContext
    ) -> match_pb2.Match:
        """End the match with its one result."""
        match_id = parse.uuid(request.match_id, "match_id")
        report = await refereeing.read_report(request)
        async with self._sessions.begin() as session:
            match = await refereeing.finish_match(session, match_id, report, principal())
            await session.flush()
        failpoint.hit("match.after_finish")
        self._bell.ring(match_id)
        return match.to_proto()

    async def ClaimBuild(
        self, request: referee_service_pb2.ClaimBuildRequest, _context: grpc.aio.ServicerContext
    ) -> referee_service_pb2.ClaimBuildResponse:
        """Let the worker take the build up; hand the code out."""
        build_id = parse.uuid(request.build_id, "build_id")
        async with self._sessions.begin() as session:
            answer = await refereeing.claim_build(session, build_id, principal())
        self._bell.ring(build_id)
        return answer

    async def FinishBuild(
        self, request: referee_service_pb2.FinishBuildRequest, _context: grpc.aio.ServicerContext
    ) -> referee_service_pb2.FinishBuildResponse:
        """End the build; the submission follows it."""
        build_id = parse.uuid(request.build_id, "build_id")
        verdict = refereeing.read_verdict(request)
        async with self._sessions.begin() as session:
            await refereeing.finish_build(session, build_id, verdict, principal())
        self._bell.ring(build_id)
        return referee_service_pb2.FinishBuildResponse()


def _is_repeat(evaluation: Evaluation, error: str) -> bool:
    ended = State.FAILED if error else State.COMPLETED
    return evaluation.state is ended and evaluation.run_id == principal().run_id


def _row(
    evaluation: Evaluation, version: SuiteVersion, episode: evaluation_pb2.Episode
) -> dict[str, Any]:
    if not version.plays(episode.scenario, episode.seed):
        raise errors.invalid_argument(
            "episodes",
            f"scenario {episode.scenario!r} with seed {episode.seed} is not in the suite",
            reason="EPISODE_NOT_IN_SUITE",
        )
    if set(episode.metrics) != set(version.metric_names):
        raise errors.invalid_argument(
            "metrics", f"must be exactly {', '.join(version.metric_names)}"
        )
    duration_s = parse.number(episode.duration_s, "duration_s", minimum=0, maximum=_MAX_DURATION_S)
    return {
        "id": new_id(),
        "evaluation_id": evaluation.id,
        "scenario": episode.scenario,
        "seed": episode.seed,
        "metrics": finite(dict(episode.metrics)),
        "duration_s": duration_s,
        "epoch": principal().epoch,
    }
