"""How a workload ends, whoever notices: its worker, its run's events, or the reconciler."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from elodrome.executor.v1 import run_pb2

from kit import outbox
from services.evaluator import building, summary
from services.evaluator.models.agent import Build
from services.evaluator.models.evaluation import Evaluation, episodes_of
from services.evaluator.models.match import Match
from services.evaluator.models.suite import SuiteVersion
from services.evaluator.models.workload import current_time
from services.evaluator.summary import Played

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from services.evaluator.models.workload import Workload

KINDS: tuple[type[Evaluation | Match | Build], ...] = (Evaluation, Match, Build)
"""Whatever the executor plays for the evaluator."""
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
    await announce(session, evaluation)


async def fail(session: AsyncSession, workload: Workload, error: str) -> None:
    """End a locked workload without results."""
    workload.fail(error, await current_time(session))
    await announce(session, workload)


async def cancel(session: AsyncSession, workload: Workload, error: str) -> None:
    """End a locked workload at somebody's wish; one that is cancelled stays as it is."""
    before = workload.revision
    workload.cancel(error, await current_time(session))
    if workload.revision > before:
        await announce(session, workload)


async def announce(session: AsyncSession, workload: Workload) -> None:
    """Tell of a workload that has just ended, and let what depends on it follow."""
    if isinstance(workload, Build):
        await building.conclude(session, workload)
    elif isinstance(workload, (Evaluation, Match)):
        event = workload.to_event()
        outbox.emit(session, event, about=workload.id, origin=workload.traceparent)


async def follow_run(session: AsyncSession, workload: Workload, state: int, reason: str) -> None:
    """Draw the conclusion from the state of a locked workload's run; none while it goes on."""
    if not workload.is_active:
        return
    if state == run_pb2.RUN_STATE_FAILED:
        await fail(session, workload, f"its run failed: {reason or 'no reason was given'}")
    elif state in _CANCELLED:
        await cancel(session, workload, f"its run was ended: {reason or 'on request'}")
    elif state == run_pb2.RUN_STATE_COMPLETED:
        if isinstance(workload, Evaluation) and not workload.episodes_left:
            await complete(session, workload)
        else:
            await fail(session, workload, f"its run ended {workload.unfinished}")


async def played(session: AsyncSession, evaluation: Evaluation) -> list[Played]:
    """Read the episodes an evaluation rests on, for the arithmetic."""
    return [
        Played(episode.scenario, episode.seed, episode.metrics)
        for episode in await episodes_of(session, evaluation)
    ]
