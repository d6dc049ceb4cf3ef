"""How an evaluation begins, whoever asks: found again, answered from the cache, or to be run."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from kit import outbox, trace
from kit.db import new_id
from services.evaluator.models.evaluation import (
    Evaluation,
    Trigger,
    newest_completed,
    newest_environment,
)
from services.evaluator.models.workload import current_time
from services.evaluator.summary import seed_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from services.evaluator.models.suite import Suite, SuiteVersion

DEFAULT_TIME_LIMIT_S = 7_200
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "evaluator.elodrome")


@dataclass(frozen=True)
class Subject:
    """Who plays: a checkpoint with its digest and owner, or a built-in agent."""

    checkpoint_id: str | None = None
    checkpoint_sha256: str = ""
    checkpoint_owner_id: str = ""
    agent: str = ""


def repeatable_id(*parts: str) -> str:
    """Return the id that a repeat of the same request has too."""
    return str(uuid.uuid5(_NAMESPACE, "/".join(parts)))


async def lock_id(session: AsyncSession, row_id: str) -> None:
    """Make concurrent repeats of one request wait for each other until the transaction ends."""
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(row_id, 0))))


async def start(
    session: AsyncSession,
    suite: Suite,
    version: SuiteVersion,
    subject: Subject,
    *,
    owner_id: str,
    evaluation_id: str = "",
    trigger: Trigger = Trigger.REQUEST,
    fresh: bool = False,
    time_limit_s: int = DEFAULT_TIME_LIMIT_S,
    rerun_of_id: str | None = None,
) -> Evaluation:
    """Add an evaluation, completed at once where an identical one is cached and `fresh` is not set.

    A given `evaluation_id` that exists already is answered as it is.
    """
    if evaluation_id:
        await lock_id(session, evaluation_id)
        if existing := await session.get(Evaluation, evaluation_id):
            return existing
    evaluation_id = evaluation_id or new_id()
    evaluation = Evaluation(
        id=evaluation_id,
        suite_id=suite.id,
        suite_name=suite.name,
        suite_version=version.number,
        suite_version_id=version.id,
        checkpoint_id=subject.checkpoint_id,
        checkpoint_sha256=subject.checkpoint_sha256,
        agent=subject.agent,
        episodes_total=version.episode_count,
        bootstrap_seed=seed_of(evaluation_id),
        rerun_of_id=rerun_of_id,
        traceparent=trace.current.get(),
        trigger=trigger,
        owner_id=owner_id,
        run_owner_id=subject.checkpoint_owner_id or owner_id,
        time_limit_s=time_limit_s,
    )
    session.add(evaluation)
    await session.flush()
    if not fresh:
        await _answer_from_cache(session, evaluation)
    return evaluation


async def _answer_from_cache(session: AsyncSession, evaluation: Evaluation) -> None:
    source = await newest_completed(
        session,
        evaluation.suite_version_id,
        checkpoint_sha256=evaluation.checkpoint_sha256,
        agent=evaluation.agent,
    )
    if source is None or source.environment_version != await newest_environment(session):
        return
    # A cached answer leads to where the episodes are, not to another cached answer.
    if source.source_evaluation_id is not None:
        source = await session.get_one(Evaluation, source.source_evaluation_id)
    now = await current_time(session)
    evaluation.copy_results(source, now)
    outbox.emit(session, evaluation.to_event(), about=evaluation.id)
