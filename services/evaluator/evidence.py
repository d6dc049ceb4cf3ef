"""Gathers what a decision is computed from: the evaluations that count, with all their episodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from elodrome.evaluator.v1 import gate_pb2, gate_service_pb2
from sqlalchemy import select

from kit import errors, parse
from kit.auth import principal
from services.evaluator import ending, inference, judging, summary
from services.evaluator.models.evaluation import Evaluation, newest_completed, own_evaluation
from services.evaluator.models.suite import SuiteVersion
from services.evaluator.models.workload import State

if TYPE_CHECKING:
    from elodrome.registry.v1 import model_pb2
    from sqlalchemy.ext.asyncio import AsyncSession

    from services.evaluator.models.gate import GatePolicy, GatePolicyVersion


@dataclass(frozen=True)
class Case:
    """What is to be decided: a version, by a policy, against the stable version if there is one."""

    policy: GatePolicy
    policy_version: GatePolicyVersion
    version: model_pb2.Version
    stable: model_pb2.Version | None


async def gather(
    session: AsyncSession, case: Case, request: gate_service_pb2.DecideGateRequest
) -> gate_pb2.DecisionRecord:
    """Compose the record of a decision; raise where an evaluation is missing or does not fit."""
    rules = case.policy_version.rules_to_proto()
    candidate = await _candidate(session, case, request)
    suite_version = await session.get_one(SuiteVersion, candidate.suite_version_id)
    _check_metrics(rules, suite_version)
    needed = judging.baselines_of(rules)
    inputs = {"candidate": candidate}
    if "random" in needed:
        inputs["random"] = await _baseline(
            session, request.random_evaluation_id, candidate, "random_evaluation_id", agent="random"
        )
    if "stable" in needed and case.stable is not None:
        inputs["stable"] = await _baseline(
            session,
            request.stable_evaluation_id,
            candidate,
            "stable_evaluation_id",
            checkpoint_sha256=case.stable.artifact.sha256,
        )
    metrics = suite_version.metric_names
    ids = [evaluation.episodes_id for evaluation in inputs.values()]
    return gate_pb2.DecisionRecord(
        policy_id=case.policy.id,
        policy_name=case.policy.name,
        policy_version=case.policy_version.number,
        rules=rules,
        confidence=case.policy_version.confidence,
        suite_version_id=suite_version.id,
        suite_name=candidate.suite_name,
        suite_version=candidate.suite_version,
        metrics=suite_version.metrics_to_proto(),
        bootstrap_seed=summary.seed_of(case.policy.id, str(case.policy_version.number), *ids),
        resample_count=inference.resample_count(suite_version.episode_count),
        method=inference.METHOD,
        **{name: await _input(session, row, metrics) for name, row in inputs.items()},
    )


async def _candidate(
    session: AsyncSession, case: Case, request: gate_service_pb2.DecideGateRequest
) -> Evaluation:
    sha256 = case.version.artifact.sha256
    if request.evaluation_id:
        evaluation_id = parse.uuid(request.evaluation_id, "evaluation_id")
        evaluation = await own_evaluation(session, evaluation_id, principal())
        _check_fits(evaluation, "evaluation_id", evaluation.suite_version_id, sha256, "")
        return evaluation
    query = (
        select(Evaluation)
        .where(Evaluation.checkpoint_sha256 == sha256, Evaluation.state == State.COMPLETED)
        .order_by(Evaluation.create_time.desc())
        .limit(1)
    )
    evaluation = await session.scalar(query)
    if evaluation is None:
        raise _missing(f"checkpoint {case.version.checkpoint_id}")
    return evaluation


async def _baseline(
    session: AsyncSession,
    evaluation_id: str,
    candidate: Evaluation,
    field: str,
    *,
    checkpoint_sha256: str = "",
    agent: str = "",
) -> Evaluation:
    """Read the named evaluation, or find the newest on the candidate's suite version."""
    suite_version_id = candidate.suite_version_id
    if evaluation_id:
        evaluation = await own_evaluation(session, parse.uuid(evaluation_id, field), principal())
        _check_fits(evaluation, field, suite_version_id, checkpoint_sha256, agent)
        return evaluation
    found = await newest_completed(
        session, suite_version_id, checkpoint_sha256=checkpoint_sha256, agent=agent
    )
    if found is None:
        who = f"agent {agent}" if agent else "the stable version"
        raise _missing(f"{who} on {candidate.suite_name} v{candidate.suite_version}")
    return found


def _check_fits(
    evaluation: Evaluation, field: str, suite_version_id: str, sha256: str, agent: str
) -> None:
    if evaluation.state is not State.COMPLETED:
        raise errors.failed_precondition(
            f"evaluation {evaluation.id} is {evaluation.state}",
            reason="EVALUATION_NOT_COMPLETED",
            evaluation_id=evaluation.id,
            state=evaluation.state,
        )
    actual = (evaluation.suite_version_id, evaluation.checkpoint_sha256, evaluation.agent)
    if actual != (suite_version_id, sha256, agent):
        raise errors.failed_precondition(
            f"{field}: evaluation {evaluation.id} is of another subject or suite version",
            reason="EVALUATION_MISMATCH",
            field=field,
            evaluation_id=evaluation.id,
        )


def _missing(subject: str) -> errors.RpcError:
    return errors.failed_precondition(
        f"there is no completed evaluation of {subject}",
        reason="EVALUATION_MISSING",
        subject=subject,
    )


def _check_metrics(rules: list[gate_pb2.GateRule], suite_version: SuiteVersion) -> None:
    for rule in rules:
        metric = rule.metric or judging.DEFAULT_METRIC
        if rule.WhichOneof("check") != "min_episodes" and metric not in suite_version.metric_names:
            raise errors.invalid_argument(
                "policy_id",
                f"rule {rule.name} needs {metric}, which the suite does not measure",
                reason="METRIC_NOT_MEASURED",
                metric=metric,
            )


async def _input(
    session: AsyncSession, evaluation: Evaluation, metrics: list[str]
) -> gate_pb2.DecisionInput:
    return gate_pb2.DecisionInput(
        evaluation_id=evaluation.id,
        checkpoint_id=evaluation.checkpoint_id or "",
        checkpoint_sha256=evaluation.checkpoint_sha256,
        agent=evaluation.agent,
        episodes=[
            gate_pb2.EpisodeInput(
                scenario=episode.scenario,
                seed=episode.seed,
                values=[episode.metrics[name] for name in metrics],
            )
            for episode in await ending.played(session, evaluation)
        ],
    )
