"""What stands in the executor's tables, as gauges: the queue, the slots, what is out of line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge
from sqlalchemy import and_, func, or_, select

from kit.db import after_commit, server_now
from kit.gauges import age_s, divergence, set_queue
from services.executor.models.job import Job
from services.executor.models.run import Run
from services.executor.states import ACTIVE, SETTLED, JobOutcome, JobState, RunState, RunType

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.gauges import Measure

QUEUE = "jobs"
RECONCILER = "reconciler"

jobs = Gauge("elodrome_jobs", "Attempts that have not ended", ["state"])
runs = Gauge("elodrome_runs", "Runs that have not settled", ["state"])
slots = Gauge("elodrome_job_slots", "Attempts that may be at work at once")
steps_per_s = Gauge(
    "elodrome_training_steps_per_second", "Environment steps of all runs at work, as they tell them"
)
jobs_ended = Counter("elodrome_jobs_ended", "Attempts that ended", ["outcome"])

_RUN_STATES = frozenset(RunState) - SETTLED
for _outcome in JobOutcome:
    jobs_ended.labels(_outcome)


def measure(max_jobs: int) -> Measure:
    """Return what sets the gauges of an executor with so many slots."""
    slots.set(max_jobs)

    async def look(session: AsyncSession) -> None:
        await _count(session)
        since = func.coalesce(Job.not_before_time, Job.create_time)
        is_due = or_(Job.not_before_time.is_(None), Job.not_before_time <= server_now())
        await set_queue(
            session, QUEUE, since, Job.state == JobState.PENDING, ~Job.is_reaped, is_due
        )
        divergence.labels(RECONCILER).set(await _oldest_divergence_s(session))

    return look


def count_end(session: AsyncSession, outcome: JobOutcome) -> None:
    """Count an ended attempt once its transaction is committed."""
    after_commit(session, jobs_ended.labels(outcome).inc)


async def _count(session: AsyncSession) -> None:
    unended = select(Job.state, func.count().label("number")).where(
        Job.state.in_(ACTIVE), ~Job.is_reaped
    )
    at = await session.execute(unended.group_by(Job.state))
    counts = {row.state: row.number for row in at}
    for state in ACTIVE:
        jobs.labels(state).set(counts.get(state, 0))
    unsettled = select(Run.state, func.count(), func.sum(Run.steps_per_s))
    unsettled = unsettled.where(Run.state.in_(_RUN_STATES)).group_by(Run.state)
    found = {state: rest for state, *rest in await session.execute(unsettled)}
    for state in _RUN_STATES:
        runs.labels(state).set(found[state][0] if state in found else 0)
    steps_per_s.set(found[RunState.RUNNING][1] if RunState.RUNNING in found else 0)


async def _oldest_divergence_s(session: AsyncSession) -> float:
    """Return for how long something has waited for the reconciler to act on it.

    What waits for a slot, or for a place on a cluster, is in line: it queues.
    """
    ended = select(age_s(Job.end_time)).where(~Job.is_reaped, Job.state.not_in(ACTIVE))
    lapsed = select(age_s(Job.expire_time)).where(
        ~Job.is_reaped, Job.state == JobState.RUNNING, Job.expire_time < server_now()
    )
    asked = select(age_s(Run.requested_time)).where(
        Run.state.in_(_RUN_STATES), Run.requested_state.is_not(None)
    )
    silent = select(age_s(Run.silent_after_time)).where(
        and_(Run.type == RunType.EXTERNAL, Run.state == RunState.RUNNING),
        Run.silent_after_time < server_now(),
    )
    ages = (query.scalar_subquery() for query in (ended, lapsed, asked, silent))
    return await session.scalar(select(func.greatest(*ages))) or 0.0
