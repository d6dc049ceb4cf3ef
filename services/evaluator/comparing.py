"""Comparing two evaluations: which ones, over which episodes, and what makes it less than fair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from elodrome.evaluator.v1 import evaluation_service_pb2
from sqlalchemy import select

from kit import errors, parse
from services.evaluator import ending, summary
from services.evaluator.models.evaluation import Evaluation
from services.evaluator.models.suite import SuiteVersion
from services.evaluator.models.workload import State

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from services.evaluator.summary import Played


@dataclass(frozen=True)
class Side:
    """One evaluation with the version it was played on and its episodes."""

    evaluation: Evaluation
    version: SuiteVersion
    episodes: list[Played]


async def find(
    session: AsyncSession, request: evaluation_service_pb2.CompareEvaluationsRequest
) -> tuple[str, str]:
    """Return the ids of base and candidate, named or found by checkpoint and suite."""
    if request.base_evaluation_id or request.candidate_evaluation_id:
        return (
            parse.uuid(request.base_evaluation_id, "base_evaluation_id"),
            parse.uuid(request.candidate_evaluation_id, "candidate_evaluation_id"),
        )
    suite_id = parse.uuid(request.suite_id, "suite_id")
    base = parse.uuid(request.base_checkpoint_id, "base_checkpoint_id")
    candidate = parse.uuid(request.candidate_checkpoint_id, "candidate_checkpoint_id")
    return await _newest(session, suite_id, base), await _newest(session, suite_id, candidate)


async def load(session: AsyncSession, base: Evaluation, candidate: Evaluation) -> tuple[Side, Side]:
    """Read both sides; raise where one has no results."""
    sides = []
    for evaluation in (base, candidate):
        if evaluation.state is not State.COMPLETED:
            raise errors.failed_precondition(
                f"evaluation {evaluation.id} is {evaluation.state}",
                reason="EVALUATION_NOT_COMPLETED",
                evaluation_id=evaluation.id,
                state=evaluation.state,
            )
        version = await session.get_one(SuiteVersion, evaluation.suite_version_id)
        sides.append(Side(evaluation, version, await ending.played(session, evaluation)))
    return sides[0], sides[1]


def compare(
    sides: tuple[Side, Side], confidence: float
) -> evaluation_service_pb2.CompareEvaluationsResponse:
    """Compare every shared metric over the shared scenarios. CPU-bound: call it in a thread."""
    base, candidate = sides
    metrics = [name for name in candidate.version.metric_names if name in base.version.metric_names]
    shared = {episode.scenario for episode in base.episodes}
    shared &= {episode.scenario for episode in candidate.episodes}
    if not metrics or not shared:
        raise errors.failed_precondition(
            "the evaluations share no metric or no scenario", reason="NOTHING_TO_COMPARE"
        )
    seed = summary.seed_of(base.evaluation.episodes_id, candidate.evaluation.episodes_id)
    old, new = (
        [episode for episode in side.episodes if episode.scenario in shared] for side in sides
    )
    return evaluation_service_pb2.CompareEvaluationsResponse(
        base=base.evaluation.to_proto(),
        candidate=candidate.evaluation.to_proto(),
        metrics=[
            summary.compare(
                name, candidate.version.goal(name), old, new, seed=seed, confidence=confidence
            )
            for name in metrics
        ],
        warnings=warnings(base, candidate),
        bootstrap_seed=seed,
    )


def warnings(base: Side, candidate: Side) -> list[str]:
    """Say what makes the comparison less than like with like."""
    old, new = base.evaluation, candidate.evaluation
    found = []
    if old.suite_version_id != new.suite_version_id:
        found.append(
            f"different suite versions: {old.suite_name} v{old.suite_version} "
            f"and {new.suite_name} v{new.suite_version}"
        )
        if base.version.metrics != candidate.version.metrics:
            found.append("the suite versions measure different metrics; only shared ones count")
        if base.version.scenarios != candidate.version.scenarios:
            found.append("the suite versions play different episodes; only shared ones are paired")
    if old.environment_version != new.environment_version:
        found.append(f"different engines: {old.environment_version} and {new.environment_version}")
    return found


async def _newest(session: AsyncSession, suite_id: str, checkpoint_id: str) -> str:
    query = (
        select(Evaluation.id)
        .where(
            Evaluation.suite_id == suite_id,
            Evaluation.checkpoint_id == checkpoint_id,
            Evaluation.state == State.COMPLETED,
        )
        .order_by(Evaluation.create_time.desc())
        .limit(1)
    )
    found = await session.scalar(query)
    if found is None:
        raise errors.not_found("evaluation", f"of checkpoint {checkpoint_id} on suite {suite_id}")
    return found
