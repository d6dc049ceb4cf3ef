"""How an evaluation ends, whoever notices: its worker, its run's events, or the reconciler."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from elodrome.executor.v1 import run_pb2

from kit import outbox
from services.evaluator import summary
from services.evaluator.models.evaluation import Evaluation, current_time, episodes_of
from services.evaluator.models.suite import SuiteVersion
from services.evaluator.summary import Played

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

_CANCELLED = (run_pb2.RUN_STATE_CANCELLED, run_pb2.RUN_STATE_STOPPED)


async def complete(session: AsyncSession, evaluation: Evaluation) -> None:
    """End a locked evaluation with its results; EPISODES_MISSING where some are not recorded."""
    evaluation.check_recorded()
    version = await session.get_one(SuiteVersion, evaluation.suite_version_id)
    episodes = await played(session, evaluation)
    scenarios = [row["scenario"] for row in version.scenarios]
    results = await asyncio.to_thread(
        summary.summarize, episodes, version.metric_names, scenarios, evaluation.bootstrap_seed
    )
    evaluation.complete(results, await current_time(session))
    outbox.emit(session, evaluation.to_event(), about=evaluation.id, origin=evaluation.traceparent)


async def fail(session: AsyncSession, evaluation: Evaluation, error: str) -> None:
    """End a locked evaluation without results."""
    evaluation.fail(error, await current_time(session))
    outbox.emit(session, evaluation.to_event(), about=evaluation.id, origin=evaluation.traceparent)


async def cancel(session: AsyncSession, evaluation: Evaluation, error: str) -> None:
    """End a locked evaluation at somebody's wish; one that is cancelled stays as it is."""
    before = evaluation.revision
    evaluation.cancel(error, await current_time(session))
    if evaluation.revision > before:
        outbox.emit(
            session, evaluation.to_event(), about=evaluation.id, origin=evaluation.traceparent
        )


async def follow_run(
    session: AsyncSession, evaluation: Evaluation, state: int, reason: str
) -> None:
    """Draw the conclusion from the state of a locked evaluation's run; none while it goes on."""
    if not evaluation.is_active:
        return
    if state == run_pb2.RUN_STATE_FAILED:
        await fail(session, evaluation, f"its run failed: {reason or 'no reason was given'}")
    elif state in _CANCELLED:
        await cancel(session, evaluation, f"its run was ended: {reason or 'on request'}")
    elif state == run_pb2.RUN_STATE_COMPLETED:
        if evaluation.episodes_done == evaluation.episodes_total:
            await complete(session, evaluation)
        else:
            done = f"{evaluation.episodes_done} of {evaluation.episodes_total}"
            await fail(session, evaluation, f"its run ended after {done} episodes")


async def played(session: AsyncSession, evaluation: Evaluation) -> list[Played]:
    """Read the episodes an evaluation rests on, for the arithmetic."""
    return [
        Played(episode.scenario, episode.seed, episode.metrics)
        for episode in await episodes_of(session, evaluation)
    ]
